"""The logs: are there files, can they be used, do their columns agree, and are their times possible?

Limit: it reads listings and footers; of columns that the config does not name only the footers of some files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from sli.calendar.duration import DAY, HOUR, SECOND
from sli.calendar.interval import iso
from sli.config.model import Config
from sli.doctor.finding import Finding, ok, problem, problem_of, span_text, warning
from sli.doctor.setup import Setup
from sli.errors import SliError
from sli.logs.agreement import nested_types, type_family, with_usable_slices
from sli.logs.conversion import conversion
from sli.logs.discovery import TODO, check_usable, feedback_warnings
from sli.logs.fields import type_of
from sli.logs.files import Files
from sli.logs.log import Log, logs_of
from sli.logs.time_ranges import YEAR_2000
from sli.planning.tasks import size_text
from sli.reading.figures import counted
from sli.tiles.dry_run import check_names, check_states

AHEAD = 300 * SECOND
"""How far ahead of this machine's clock a time of a log may lie, since clocks differ: 5 minutes."""


def paths(setup: Setup) -> Iterator[Finding]:
    """Whether there are files at the paths of each log."""
    for key, source in setup.config.sources.items():
        listed = setup.listings[key]
        if isinstance(listed, SliError):
            yield problem_of(listed)
            continue
        for path, nearby in listed.missing.items():
            yield problem(f"{key}: nothing at {path}" + f"; {nearby}" * bool(nearby), f"check `{key}.path`")
        if not listed.paths and not listed.missing:
            todo = conversion(listed.others, source.path[0], f"{key}.path") or f"check `{key}.path`"
            found = listed.summary if listed.others else "nothing"
            yield problem(f"{key}: no Parquet file at {', '.join(source.path)}, only {found}", todo)
        elif listed.paths:
            newest = max(listed.modified, default=0)
            when = f", the newest written {iso(newest // SECOND * SECOND)}" if newest else ""
            yield ok(f"{key}: {counted(len(listed.paths), 'Parquet file')}, {size_text(sum(listed.sizes))}{when}")


def files(setup: Setup) -> Iterator[Finding]:
    """Whether files are set aside, and why."""
    inputs = setup.inputs
    check_usable(inputs)
    check_names(setup.config, inputs)
    for text in feedback_warnings(setup.config, inputs.feedback):
        yield problem(text, "check `feedback.path` and the files there")
    found = False
    for log in logs_of(setup.config):
        of_log = inputs.files.of_logs([log.name])
        for finding in _set_aside(log, of_log):
            found = True
            yield finding
    if not found:
        rows = f"{inputs.predictions.row_count:,} predictions, {counted(inputs.feedback.row_count, 'row')} of feedback"
        yield ok(f"all {len(inputs.files):,} files can be used: {rows}")


def _set_aside(log: Log, files: Files) -> Iterator[Finding]:
    aside = list(files.take(~files.usable))
    for check, count in sorted(Counter(file.problem for file in aside).items()):
        first = next(file for file in aside if file.problem == check)
        text = f"{log.name}: {count:,} of {counted(len(files), 'file')} set aside as {check}"
        todo = TODO.get(check, f"compare the columns under `{log.key}:` in the config with the file")
        yield warning(f"{text}, for example {first.path}: {first.explanation}", todo)
    rows = sum(file.null_times for file in files.take(files.usable))
    if rows:
        first = next(file for file in files if file.null_times)
        why = first.explanation or "no time"
        yield warning(
            f"{log.name}: {counted(rows, 'row')} without a usable time, for example in {first.path}: {why}",
            "write their times; until then they count nowhere",
        )


def columns(setup: Setup) -> Iterator[Finding]:
    """Whether the columns that the config names have one type in all files, and fit its SQL."""
    config, inputs = setup.config, setup.inputs
    for name, kind in nested_types(config, inputs).items():
        yield warning(
            f"no slices by '{name}', which is {kind}",
            "slice by one of its fields: `predictions.columns: {NAME: FIELD}`",
        )
    drifts = [drift for log in logs_of(config) for drift in _drifts(log, inputs.files.of_logs([log.name]))]
    yield from drifts
    check_states(with_usable_slices(config, inputs), inputs.predictions)
    if not drifts:
        yield ok("the columns that the config names have one kind of type in all files")


def _drifts(log: Log, files: Files) -> Iterator[Finding]:
    """Columns that are text in some usable files and something else in others: slices may be written in two ways."""
    usable = files.take(files.usable)
    kinds = usable.kinds
    types: dict[str, Counter[str]] = defaultdict(Counter)
    for place in kinds.of_file:
        for name, stored in kinds.all[place]:
            if name in log.needed:
                types[name][type_of(stored)] += 1
    for name, counts in sorted(types.items()):
        families = {type_family(kind) for kind in counts} - {"null"}
        if len(families) > 1:
            found = ", ".join(f"{kind} in {counted(count, 'file')}" for kind, count in counts.most_common())
            yield warning(
                f"{log.name}: column '{name}' is {found}",
                "write it with one type: '7' and '07' are two values where 7 is one",
            )


def times(setup: Setup) -> Iterator[Finding]:
    """Whether the times of the logs are possible, and go together."""
    config, inputs = setup.config, setup.inputs
    found = [finding for log in logs_of(config) for finding in _impossible(setup, log)]
    found += _apart(config, inputs.predictions, inputs.feedback)
    yield from found
    if not found:
        spans = [f"{log.key} {span_text(files.span)}" for log, files in _by_log(setup) if files.span is not None]
        zones = {naive for log, files in _by_log(setup) for naive in [_naive(log, files)] if naive}
        read = f"; times without a zone are read in {config.timezone}" if zones else ""
        yield ok(f"{', '.join(spans)}{read}")


def _by_log(setup: Setup) -> Iterator[tuple[Log, Files]]:
    for log in logs_of(setup.config):
        yield log, setup.inputs.files.of_logs([log.name])


def _impossible(setup: Setup, log: Log) -> Iterator[Finding]:
    """Times in the future, and times so long ago that nobody logged them."""
    files = setup.inputs.files.of_logs([log.name])
    file, first, last = files.ranges
    late = np.unique(file[last > setup.now + AHEAD])
    if len(late):
        newest = int(last.max())
        example = next(iter(files.take(file[last == newest][:1])))
        text = f"{log.name}: {counted(len(late), 'file')} with times after now, such as {example.path}"
        yield warning(f"{text}, up to {iso(newest // SECOND * SECOND)}", _why_ahead(setup, log, files, newest))
    early = np.unique(file[first < YEAR_2000])
    if len(early):
        example = next(iter(files.take(early)))
        text = f"{log.name}: {counted(len(early), 'file')} with times before 2000, from {iso(int(first.min()))}"
        unit = f"`{log.key}.time: {{column: ..., unit: s|ms|us|ns}}`"
        yield warning(
            f"{text}, such as {example.path}",
            f"check the unit of what was written: numbers need {unit}; timestamps of 1970 were made in another unit",
        )


def _why_ahead(setup: Setup, log: Log, files: Files, newest: int) -> str:
    if _naive(log, files) and newest - setup.now < DAY:
        return f"times without a zone are read in {setup.config.timezone}: set `timezone`, or write times with a zone"
    if newest - setup.now < HOUR:
        return "compare the clock of this machine and of whoever writes the log (`timedatectl`)"
    return "check the unit and the clock of whoever writes the log; a run counts these rows once their time has come"


def _naive(log: Log, files: Files) -> bool:
    """Whether the times of a log are timestamps or dates without a zone."""
    if log.time is None or log.time.unit is not None:
        return False
    kinds = {type_of(stored) for columns in files.kinds.all for name, stored in columns if name == log.time.field}
    return any(kind.startswith(("timestamp", "date")) and "tz=" not in kind for kind in kinds)


def _apart(config: Config, predictions: Files, feedback: Files) -> Iterator[Finding]:
    """Logs whose times do not meet."""
    made, known = predictions.span, feedback.span
    if made is not None and made.end <= config.since_instant:
        yield problem(
            f"all predictions were made before `since`: {span_text(made)}",
            f"set `since` (now {iso(config.since_instant)}) earlier",
        )
    if made is None or known is None or config.known_at_once:
        return
    if known.end <= made.start:
        yield problem(
            f"all feedback ({span_text(known)}) is known before the first prediction ({span_text(made)})",
            "check `feedback.path`, `feedback.time` and its unit: is it the feedback of this model?",
        )
    elif known.start > made.end + config.horizon.micros:
        yield problem(
            f"all feedback ({span_text(known)}) is known more than the horizon after the last prediction "
            f"({span_text(made)})",
            f"check both paths, or set `horizon` (now {config.horizon.text}) longer",
        )
