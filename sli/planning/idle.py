"""Until when a run finds nothing to do, if no file of the config and the logs changes: a run publishes that.

So the next run need not plan to know it (`publishing.unchanged`). Limit: only where plain reasons suffice; a run that
leaves anything to do, sets files aside, warns, or reads tables as logs does not say it.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from sli.calendar.interval import BEGINNING, END
from sli.config.model import Config
from sli.logs.dated import DatedFolders, lie_in
from sli.logs.discovery import feedback_warnings
from sli.logs.files import Inputs
from sli.logs.folder_dates import Older
from sli.logs.listing import digest_of
from sli.planning.late_feedback import Horizon
from sli.planning.listing import MOST_FILES
from sli.planning.plan import Plan


def idle_until(config: Config, inputs: Inputs, plan: Plan, newest: int) -> int | None:
    """The first instant at which a run after this one may have something to do; None if it cannot be said.

    A run of a config that is the same, on files that are the same. `newest` is the end of the newest hour published.
    """
    request = plan.request
    asked = request.part is not None or request.look_back is not None
    if asked or plan.older or plan.left or plan.backfills or plan.declared != plan.extent or plan.gone:
        return None
    if inputs.tables or not inputs.files.usable.all() or feedback_warnings(config, inputs.feedback):
        return None
    _, first, last = inputs.files.ranges
    known_later = np.maximum(first, plan.as_of + 1)[last > plan.as_of]
    until = int(known_later.min()) if len(known_later) else END
    after = Horizon.of(config).after
    for grain in config.all_grains:
        _, ends = grain.windows(config.zone, config.since_instant, newest)
        provisional = ends[ends + after > plan.as_of]
        if len(provisional):
            until = min(until, int(provisional.min()) + after)
    if inputs.since > BEGINNING:
        # The first run of a day lists everything.
        until = min(until, config.zone.midnight(config.zone.date(plan.as_of) + timedelta(days=1)))
    return until


def files_listed(config: Config, inputs: Inputs) -> tuple[str, Older | None]:
    """The digest of the files that the next run lists, as `publishing.unchanged` finds it, and which are older.

    An empty text if a run lists that many files only once a day.
    """
    files, older = inputs.files, None
    if inputs.since > BEGINNING:
        older = DatedFolders.of(config).older(files, inputs.since)
        files = files.take(~lie_in(older, files))
    elif len(files) > MOST_FILES:
        return "", None
    return digest_of([file.path for file in files], [file.fingerprint for file in files]), older
