"""Discovery: which Parquet files the two logs consist of, what time each covers, and which of them cannot be used.

Only listings and footers are read, and footers only of files not seen before. Limit: a file whose footer has no
statistics of the time column costs one read of that column.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.config.model import Config
from sli.engine.arrow import Flags, Rows, flags, text_column
from sli.errors import ConfigError, InputError
from sli.logs.agreement import agreed
from sli.logs.files import Files, Inputs, LogFile
from sli.logs.footer import ExpectedLog, FileReplaced, read_footers
from sli.logs.listing import ENDINGS, Listing, listing

ATTEMPTS = 5
"""How often a log is listed again because a file of it was replaced or removed before it was read."""


def discover(config: Config, known: Inputs | None = None) -> Inputs:
    """List both logs; footers of `known` files with the same fingerprint are not read again. Raises InputError."""
    known = known or Inputs.of([])
    wanted = (
        ExpectedLog("predictions", config.predictions, config.columns, config.zone, config.classes, config.storage),
        ExpectedLog("feedback", config.feedback, (), config.zone, config.classes, config.storage),
    )
    found = Inputs(*(_listed(*each) for each in zip(wanted, known.logs, strict=True)))
    if not found.predictions:
        raise InputError(
            "the predictions log is empty",
            where=config.predictions.path,
            expected=f"Parquet files that end in {', '.join(ENDINGS)}",
            found=_contents(config, "predictions"),
            todo="check `predictions.path`",
        )
    return agreed(config, found)


def _contents(config: Config, log: str) -> str:
    """What lies at the path of a log, in a few words."""
    found = listing(log, getattr(config, log).path, config.storage)
    return found.contents if found else "nothing"


TODO = {
    "unreadable": "write the file again, or move it away",
    "damaged": "write the file again, or move it away",
    "wrong id type": "write both logs' ids in one type",
}


def check_usable(inputs: Inputs) -> None:
    """Raise InputError where a log has files and none of them can be used.

    Without predictions there is nothing to publish. Without feedback there is, unless the config asks for columns that
    no file of it has.
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


def without_feedback(config: Config, inputs: Inputs) -> tuple[str, ...]:
    """A warning if no file of the feedback log has a row that can be used, so that nothing has a label."""
    files = inputs.feedback
    if pc.sum(files.take(files.usable).rows.column("rows")).as_py():
        return ()
    why = "without rows" if files.usable.all() else "set aside or without rows" if files.usable.any() else "set aside"
    found = f"{len(files):,} Parquet file{'s' * (len(files) != 1)}, {why}" if files else _contents(config, "feedback")
    return (f"nothing is labelled: no usable feedback at {config.feedback.path}, only {found}",)


def _listed(expected: ExpectedLog, before: Files) -> Files:
    """The files of a log. Of those that are as they were before, the very same rows."""
    for _ in range(ATTEMPTS):
        found = listing(expected.log, expected.source.path, expected.storage)
        if found is None:
            raise _missing(expected, before)
        try:
            return _described(expected, found, before)
        except FileReplaced as replaced:
            last = replaced
    raise InputError(
        f"a file of the {expected.log} log was replaced or removed while it was read",
        where=str(last),
        todo="run again",
        passes=True,
    ) from last


def _missing(expected: ExpectedLog, before: Files) -> InputError | ConfigError:
    what, key = f"the path of the {expected.log} log does not exist", f"{expected.log}.path"
    if before:
        # There was a log, so this is not a typing error: its storage may be away.
        return InputError(what, where=expected.source.path, todo=f"check `{key}`")
    return ConfigError(what, where=key, found=expected.source.path, todo=f"check `{key}`")


def _described(expected: ExpectedLog, found: Listing, before: Files) -> Files:
    """The files listed, with what their footers tell. Raises FileReplaced."""
    places = before.places(text_column(found.paths))
    fingerprints = text_column(found.fingerprints)
    new = ~_as_before(expected, before, places, fingerprints)
    # Named even where they turn out missing: what was looked for decides whether to look again.
    named = tuple((name, "") for name in expected.needed)
    unseen = [
        LogFile(expected.log, found.paths[i], found.fingerprints[i], found.sizes[i], columns=named)
        for i in np.flatnonzero(new)
    ]
    places[new] = len(before) + np.arange(len(unseen))
    return before.with_more(Files.of(read_footers(expected, unseen, found.refused))).take(places)


def _as_before(expected: ExpectedLog, before: Files, places: Rows, fingerprints: pa.Array) -> Flags:
    """Which of the files listed, each of them at its place among those before, need no look at their footers."""
    needed = set(expected.needed)
    enough = np.array([needed <= {name for name, _ in each} for each in before.kinds.every], bool)
    again = pc.or_(
        pc.is_in(before.rows.column("problem"), value_set=text_column(["wrong id type", "wrong type", "unreadable"])),
        # What earlier versions called so they only could not read.
        pc.starts_with(before.rows.column("explanation"), "a page is damaged: "),
    )
    known = np.append(enough[before.kinds.of] & ~flags(again), False)
    same: Flags = before.same(places, "fingerprint", fingerprints) & known[places]
    return same
