"""Which folders of the logs a run lists: all of them, or only those with rows that can still change what it computes.

The first run of a day lists everything, and so does one that may need any rows: a backfill, or after a change of the
config. Every other run leaves out the folders that are named by dates and older than its reach, and supposes that
nothing changed there. If it turns out to need older rows, it lists more. What must be known of all files is kept:
a digest of each week in the published state, and a file of each kind among those that every run reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from sli.calendar.duration import DAY
from sli.calendar.interval import BEGINNING, Instants
from sli.config.model import Config
from sli.engine.arrow import Flags, flags, integer_column, integers, text_column
from sli.logs.agreement import CHECKS, nested_types
from sli.logs.dated import EVERY_RUN, DatedFolders, week_of, week_text
from sli.logs.discovery import were_read
from sli.logs.files import Files, Inputs
from sli.planning.extent import Extent
from sli.planning.published import Published
from sli.planning.reach import Reach
from sli.planning.request import Request

MOST_FILES = 3_000
"""If there are at most so many files, every run lists all of them. The last weeks alone may have as many, where a log
gains a file an hour and `duplicates_within` is 30 days."""
SLACK = DAY
"""How much older rows may be listed for than those that a run needs if all rows come in time."""


class NeedsOlder(Exception):
    """A run needs older rows than those of the files it listed. `since` is the first instant that it needs."""

    def __init__(self, since: int) -> None:
        super().__init__(since)
        self.since = since


def listed_since(config: Config, published: Published | None, request: Request) -> int:
    """The start of the first week whose folders a run lists; BEGINNING: it lists everything."""
    reach = Reach.of(config)
    if published is None or request.full_listing or request.part is not None or reach.endless:
        return BEGINNING
    as_of = request.not_before(published.as_of).as_of
    same = published.base == config.base and published.extent == Extent.declared(config)
    if published.migration or not same or not set(config.states) <= set(published.states) or as_of < published.as_of:
        return BEGINNING
    if published.listed.files <= MOST_FILES or config.zone.date(as_of) != config.zone.date(published.listed.at):
        return BEGINNING
    return week_of(published.listed.at - reach.far - SLACK)


def tell_enough(config: Config, seen: Inputs, inputs: Inputs) -> bool:
    """Whether files that were listed from some week on tell what must be known of all files.

    They do not if types differ so that files vote, if a file is gone or changed that stood for others of its kind, and
    if all files of a log are gone that were there from that week on: perhaps its storage is away.
    """
    problems = inputs.files.rows.column("problem")
    if flags(pc.is_in(problems, value_set=text_column(CHECKS))).any() or nested_types(config, inputs):
        return False
    feedback = inputs.feedback.take(inputs.feedback.usable)
    if not inputs.predictions.usable.any() or not pc.sum(feedback.rows.column("rows")).as_py():
        return False
    folders = DatedFolders.of(config)
    for files, before in zip(inputs.logs, seen.logs, strict=True):
        weeks = folders.weeks(before)
        if not _names_of(before, weeks >= inputs.since) <= _names_of(files, folders.weeks(files) >= inputs.since):
            return False
        stand_for_others = before.take(always_read(before) & (weeks != EVERY_RUN))
        if not stand_for_others.found_in(files, "fingerprint", "problem").all():
            return False
    return were_read(config, seen)


def _names_of(files: Files, which: Flags) -> set[object]:
    """The logs that have some of these files."""
    names = files.rows.column("log").take(integer_column(np.flatnonzero(which)))
    return set(names.unique().to_pylist())


def always_read(files: Files) -> Flags:
    """Which files of one side every run reads, however old: those that the audit names, and one of each kind."""
    logs, kinds = integers(files.rows.column("log").dictionary_encode().indices), files.kinds
    sorts = np.where(files.usable, logs * len(kinds.all) + kinds.of_file, -1)
    # Neither with tables nor with arrays of flags, which import pandas.
    of_sorts = (files.take(sorts == sort) for sort in np.unique(sorts[files.usable]))
    firsts = [str(pc.min(of_sort.rows.column("path"))) for of_sort in of_sorts]
    of_kind = flags(pc.is_in(files.rows.column("path"), value_set=text_column(firsts)))
    named: Flags = ~files.usable | (integers(files.rows.column("null_times")) > 0)
    return named | (of_kind & files.usable)


def stored_weeks(config: Config, inputs: Inputs) -> Instants:
    """The week under which the table `inputs` has each file of both logs."""
    always = np.concatenate([always_read(files) for files in inputs.logs])
    return np.where(always, EVERY_RUN, DatedFolders.of(config).weeks(inputs.files))


def week_digests(config: Config, inputs: Inputs) -> dict[str, str]:
    """A hash of the paths, fingerprints and problems of the files of each week that is listed."""
    weeks, files = DatedFolders.of(config).weeks(inputs.files), inputs.files
    listed = np.unique(weeks[weeks >= inputs.since]).tolist()
    return {week_text(week): files.take(weeks == week).digest for week in listed}


def digest_of(weeks: Mapping[str, str]) -> str:
    """A hash of all files, by those of the weeks."""
    return hashlib.sha256(json.dumps(sorted(weeks.items())).encode()).hexdigest()
