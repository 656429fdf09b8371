"""The files that a run works with: those that the published run saw, and those that there are now.

Limit: files of folders that are not listed are supposed to be as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from sli.calendar.interval import BEGINNING
from sli.config.model import Config
from sli.logs.dated import week_text
from sli.logs.discovery import discover
from sli.logs.files import Inputs
from sli.planning.listing import tell_enough
from sli.publishing.delta_tables import Within
from sli.schemas import FILES


def list_logs(config: Config, rows: Callable[..., pa.Table], since: int) -> tuple[Inputs, Inputs]:
    """The files seen and the files now that matter from a week on, or all if these do not tell enough of the others.

    `rows` reads rows of a table of the store, given its name, columns, a filter and partitions. Raises SliError.
    """
    within: Within = [("week", ">=", week_text(since))] if since > BEGINNING else []
    seen = replace(Inputs.of_rows(rows("inputs", FILES.names, None, within)), since=since)
    inputs = discover(config, seen, since)
    if since > BEGINNING and not tell_enough(config, seen, inputs):
        return list_logs(config, rows, BEGINNING)
    return seen, inputs
