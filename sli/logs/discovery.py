"""Discovery: which Parquet files the two logs consist of, what time each covers, and which of them cannot be used.

Limit: a run reads the listings of both logs, and of the files only the footers of those that are new or changed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc

from sli.calendar.interval import BEGINNING
from sli.config.model import Config
from sli.engine.arrow import Column, Flags, Rows, flags, text_column
from sli.errors import ConfigError, InputError
from sli.logs.agreement import set_aside_disagreeing
from sli.logs.conversion import conversion
from sli.logs.dated import DatedFolders, lie_in
from sli.logs.files import Files, Inputs, LogFile, folders_of
from sli.logs.folder_dates import Older
from sli.logs.footer import FileReplaced, Unread, read_footers
from sli.logs.listing import Listing
from sli.logs.log import Log, check_expressions, logs_of
from sli.logs.paths import EXPECTED, list_files
from sli.logs.time_ranges import PROBABLY
from sli.logs.where import excluded_by_folder

ATTEMPTS = 5
"""How often a log is listed again because a file of it was replaced or removed before it was read."""


def discover(config: Config, known: Inputs | None = None, since: int = BEGINNING) -> Inputs:
    """The files of both logs. Footers of `known` files with the same fingerprint are not read again.

    With `since`, the start of a week, folders that do not matter from then on are not listed: of their files only those
    that are `known` are returned, as they were.

    Raises InputError if a log cannot be listed or there are no predictions, ConfigError if its path does not exist.
    """
    known = known or Inputs.of([])
    older = DatedFolders.of(config).older(known.files, since) if since > BEGINNING else None
    logs = logs_of(config)
    for log in logs:
        check_expressions(log)
    files, tables = [], []
    for log, source in zip(logs, config.sources.values(), strict=True):
        of_log, tables_of_log = _discover_log(log, source.path, known.files.of_logs([log.name]), older)
        files.append(of_log)
        tables += [f"{log.key}: {table}" for table in tables_of_log]
    for log, of_log in zip(logs, files, strict=True):
        _check_unit(log, of_log)
    _check_once(files[1:])
    inputs = Inputs(files[0], functools.reduce(Files.with_more, files[1:]))
    if not inputs.predictions and config.predictions.where is not None:
        raise InputError(
            "`where` leaves no file of the predictions log",
            where="predictions.where",
            found=config.predictions.where,
            todo="compare it with the names of the folders, and check `predictions.path`",
        )
    if not inputs.predictions:
        contents, todo = _contents(config, "predictions")
        raise InputError(
            "the predictions log is empty",
            where=", ".join(config.predictions.path),
            expected=EXPECTED,
            found=contents,
            todo=todo or "check `predictions.path`",
        )
    return replace(set_aside_disagreeing(config, inputs), tables=tuple(tables), since=since)


def _contents(config: Config, key: str) -> tuple[str, str]:
    """What files are at the paths of a log, for example `12 .csv files, no .parquet`, and how to convert them."""
    paths = config.sources[key].path
    listed = list_files(key, paths, config.storage)
    return listed.summary, conversion(listed.others, paths[0], f"{key}.path")


TODO = {
    "unreadable": "write the file again, or move it away",
    "damaged": "write the file again, or move it away",
    "wrong id type": "write both logs' ids in one type",
}
"""What to do about each problem that the config cannot have caused."""


def were_read(config: Config, inputs: Inputs) -> bool:
    """Whether the footers of these files were read for all fields that the config needs now."""
    for log in logs_of(config):
        files, needed = inputs.files.of_logs([log.name]), {*log.needed, *log.marks}
        for kind in np.unique(files.kinds.of_file[files.usable]):
            if not needed <= {name for name, _ in files.kinds.all[kind]}:
                return False
    return True


def check_usable(inputs: Inputs) -> None:
    """Raise InputError if a log has files and none of them can be used.

    A run without predictions has nothing to publish. A run without feedback has, so it goes on, unless every file of
    feedback lacks a column of the config: then the config names the wrong columns.
    """
    for name, files in (("predictions", inputs.predictions), ("feedback", inputs.feedback)):
        if not files or files.usable.any():
            continue
        first = next(iter(files))
        if name == "predictions" or all(file.problem == "missing column" for file in files):
            raise InputError(
                f"no file of the {name} log can be used",
                where=first.path,
                found=f"{first.problem}: {first.explanation}",
                todo=TODO.get(first.problem, f"compare the columns under `{name}:` in the config with the files"),
            )


def feedback_warnings(config: Config, files: Files) -> tuple[str, ...]:
    """A warning if none of the files of the feedback log has a row that can be used, so that nothing has a label."""
    if pc.sum(files.take(files.usable).rows.column("rows")).as_py():
        return ()
    why = "without rows" if files.usable.all() else "set aside or without rows" if files.usable.any() else "set aside"
    contents, todo = [f"{len(files):,} Parquet file{'s' * (len(files) != 1)}, {why}"], [""]
    if not files:
        logs = [_contents(config, key) for key in config.sources if key != "predictions"]
        contents, todo = map(list, zip(*logs, strict=True))
    paths = [path for log in config.feedback_logs for path in log.path]
    what = f"nothing is labelled: no usable feedback at {' and '.join(paths)}, only {' and '.join(contents)}"
    return ("; ".join([what, *filter(None, todo)]),)


def _check_unit(log: Log, files: Files) -> None:
    """Raise ConfigError if in the config's unit all times of a log lie before the year 2000 or after 2100."""
    if log.time is None or log.time.unit is None or files.usable.any():
        return
    reasons = [file.explanation for file in files if file.problem == "wrong time"]
    if reasons and len(reasons) == len(files):
        likely = reasons[0].partition(PROBABLY)[2]
        raise ConfigError(
            f"{reasons[0].partition('; ')[0]}",
            where=f"{log.key}.time.unit",
            expected=likely or "s, ms, us or ns",
            found=log.time.unit,
            todo=f"write `unit: {likely}`" if likely else "check the column",
        )


def _check_once(feedback: Sequence[Files]) -> None:
    """Raise ConfigError if a file belongs to two feedback logs: its rows would count twice."""
    owners: dict[str, int] = {}
    for number, files in enumerate(feedback if len(feedback) > 1 else ()):
        for path in files.paths:
            if owners.setdefault(path, number) != number:
                raise ConfigError(
                    "two feedback logs have a file in common",
                    where=f"feedback[{number}].path",
                    found=path,
                    todo="read it once, with SQL for what differs: `where: kind IN ('a', 'b')`, `value: {sql: ...}`",
                )


def _discover_log(log: Log, paths: Sequence[str], before: Files, older: Older | None) -> tuple[Files, tuple[str, ...]]:
    """The files of a log, and the tables that name them. A file that did not change keeps its row.

    Of the folders that are `older` it has the files that were there before.
    """
    for _ in range(ATTEMPTS):
        listed = list_files(log.key, paths, log.storage, older)
        for path, nearby in listed.missing.items():
            raise _missing_log(log, paths, path, nearby, before)
        _check_names(log, listed)
        try:
            files = _files(log, listed.without(older), before)
            if older and (in_older := lie_in(older, before)).any():
                files = files.with_more(before.take(in_older)).by_path
            return files, listed.described_tables
        except FileReplaced as replaced:
            last = replaced
    raise InputError(
        f"a file of the {log.name} log was replaced or removed while it was read",
        where=str(last),
        todo="run again",
        passes=True,
    ) from last


def _missing_log(log: Log, paths: Sequence[str], path: str, nearby: str, before: Files) -> InputError | ConfigError:
    """The error for a path that leads to nothing; `nearby` says what there is instead of what a pattern names."""
    what = f"the path of the {log.name} log does not exist"
    if nearby:
        what = f"nothing matches the path of the {log.name} log"
    key = f"{log.key}.path" if len(paths) == 1 else f"{log.key}.path[{paths.index(path)}]"
    if before:
        # There was a log before, so the path is not misspelt: its storage may be away.
        return InputError(what, where=path, found=nearby, todo=f"check `{key}`")
    return ConfigError(what, where=key, found=f"{path}; {nearby}" if nearby else path, todo=f"check `{key}`")


def _check_names(log: Log, listed: Listing) -> None:
    """Raise InputError if a needed column of a table cannot be read by its name from the table's files."""
    for name in sorted(log.stored):
        if name in listed.misnamed:
            raise InputError(
                f"column '{name}' of the {log.name} log cannot be read from the files of its table",
                where=", ".join(listed.tables),
                expected="files that have the column under the name that the table gives it",
                found=listed.misnamed[name],
                todo="write the table again, or write its current rows as plain Parquet files",
            )


def _files(log: Log, listed: Listing, before: Files) -> Files:
    """The files of a listing with what their footers say. Raises FileReplaced."""
    listed = _with_rows(log, listed)
    places = before.places(text_column(listed.paths))
    new = ~_unchanged(log, before, places, text_column(listed.fingerprints))
    # Also columns that a file lacks: a later run reads the footer again only if it needs another column.
    columns = tuple((name, "") for name in (*log.needed, *log.marks))
    unread = [
        Unread(
            LogFile(log.name, listed.paths[i], listed.fingerprints[i], listed.sizes[i], columns=columns),
            listed.modified[i],
        )
        for i in np.flatnonzero(new)
    ]
    places[new] = len(before) + np.arange(len(unread))
    return before.with_more(Files.of(read_footers(log, unread, listed.refused))).take(places)


def _with_rows(log: Log, listed: Listing) -> Listing:
    """The listing without the files in folders whose names say that `where` excludes all their rows."""
    if log.where is None:
        return listed
    folders = [folders_of(path) for path in listed.paths]
    return listed.take([i for i, columns in enumerate(folders) if not excluded_by_folder(log.where, columns)])


def _unchanged(log: Log, before: Files, places: Rows, fingerprints: Column) -> Flags:
    """Which listed files did not change, so that their footers are not read again.

    `places` says where each file is among those before, -1 for a new file.
    """
    needed = {*log.needed, *log.marks}
    complete = np.array([needed <= {name for name, _ in columns} for columns in before.kinds.all], bool)
    read_again = pc.or_(
        pc.is_in(
            before.rows.column("problem"),
            value_set=text_column(["wrong id type", "wrong type", "wrong time", "unreadable"]),
        ),
        # Earlier versions said this of undamaged pages that they could not read.
        pc.starts_with(before.rows.column("explanation"), "a page is damaged: "),
    )
    kept = np.append(complete[before.kinds.of_file] & ~flags(read_again), False)
    unchanged: Flags = before.equal_at(places, "fingerprint", fingerprints) & kept[places]
    return unchanged
