"""What each column of each table means, its unit, and when it is null.

`sli sql CONFIG "from columns"` lists it, and docs/tables.md is made from it. Limit: `tiles` and `days` also have
columns of states, which `sli/slis/kinds/` describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What a column means. `unit`: what its numbers count; `null`: when it is null, empty: never."""

    text: str
    unit: str = ""
    null: str = ""


TABLES: Mapping[str, str] = {
    "results": "The newest value of each SLI, window and slice: one row for each, without any de-duplication.",
    "revisions": "Every value ever published, and why it changed. It answers what was known at any time.",
    "audit": "Rows and files of the logs that do not count, as each run found them.",
    "runs": "What each run was asked, and what it did.",
    "tiles": "Internal: the states of each tile (mostly an hour) and slice, from which all windows are merged. It has "
    "a further column for each state, named by its type and a hash of what it is.",
    "days": "Internal: the tiles of each local day, merged. It has the same columns of states as `tiles`.",
    "inputs": "Internal: the files that the last run saw.",
    "keys": "Internal: the index of ids, which says in which tile an id occurs.",
}
"""What each table is for."""
_RUN = {
    "run_id": Meaning("the run that published the row"),
    "sequence": Meaning("the number of the publication, counted from 1"),
    "as_of": Meaning("the knowledge cut-off of that run: it saw nothing later", "UTC"),
}
_RESULT = {
    "model": Meaning("the `model` of the config"),
    "sli": Meaning("the name of the SLI in the config"),
    "definition": Meaning("a hash of all that its values depend on; with another one a new series starts"),
    "grain": Meaning("`hour`, `day`, `week`, `month`, `cumulative`, or `size/every`, for example `7d/1d`"),
    "window_start": Meaning("the first instant of the window", "UTC"),
    "window_end": Meaning("the end of the window, the first instant after it", "UTC"),
    "slice_by": Meaning("the columns of the slice, in order; empty: all predictions together"),
    "slice": Meaning(
        "the value of each of these columns, as text, or null as in the log; `(other)`: all but the `top` largest"
    ),
    "value": Meaning(
        "the value of the SLI; shares are between 0 and 1",
        "that of the SLI: none, or seconds for delays",
        "`reason` says why",
    ),
    "reason": Meaning("why there is no value", null="there is a value"),
    "ci_low": Meaning(
        "the lower end of the interval at the config's `level`: what chance may have done",
        "as `value`",
        "the SLI has no interval, or none for so few pairs",
    ),
    "ci_high": Meaning("its upper end", "as `value`", "as `ci_low`"),
    "missing_low": Meaning(
        "the least value that the window can have once every missing label is known",
        "as `value`",
        "the SLI has no such bounds, or no labels would define it",
    ),
    "missing_high": Meaning("the greatest such value", "as `value`", "as `missing_low`"),
    "error_bound": Meaning(
        "how far the value may lie from that of the plain rows; 0: it is exact",
        "as `value`",
        "no bound is known, or there is no value",
    ),
    "predictions": Meaning("how many predictions the window has", "predictions"),
    "labelled": Meaning("how many of them have a label", "predictions"),
    "coverage": Meaning("labelled / predictions", "share, 0 to 1"),
    "maturity": Meaning("`final` once the horizon has passed since the end of the window, else `provisional`"),
    "objective": Meaning("the objective of the SLI, for example `>= 0.4`", null="it has none"),
    "verdict": Meaning(
        "`met` or `breached` if the whole interval is, else `undecided`", null="the SLI has no objective"
    ),
    "as_of": _RUN["as_of"],
    "run_id": _RUN["run_id"],
    "day": Meaning("the local date, in the zone of the config, in which the window ends", "`YYYY-MM-DD`"),
}
_TILE = {
    "day": Meaning("the local date of the tile", "`YYYY-MM-DD`"),
    "span": Meaning(
        "`tile`: the row has states; `hour`, `day`: values that do not merge; `pairs`, `feedback`: counts of the audit"
    ),
    "start": Meaning("the first instant of the tile", "UTC"),
    "slice_by": Meaning("the columns of the slice, between commas; empty: all predictions together"),
    "slice": Meaning('the slice as JSON, for example `{"origin":"JFK"}`'),
    "predictions": Meaning("how many predictions the tile has of the slice", "predictions"),
    "labelled": Meaning("how many of them have a label", "predictions"),
    "marks": Meaning("how many rows each check of the audit counted", "rows", "in rows of the other spans"),
}
_START = Meaning("the first instant of the day", "UTC", "in rows of the spans `pairs` and `feedback`")
MEANINGS: Mapping[str, Mapping[str, Meaning]] = {
    "results": _RESULT,
    "revisions": {
        **_RESULT,
        "sequence": _RUN["sequence"],
        "change": Meaning("`added`, `changed` or `removed`; a removed row has the values it had"),
        "cause": Meaning('why, for example `late feedback`; see docs/semantics.md, "What changed"'),
        "old_value": Meaning("the value of the revision before", "as `value`", "there was none, or it had no value"),
        "old_verdict": Meaning("the verdict of the revision before", null="there was none, or no objective"),
        "backfill": Meaning("the backfill that published the row", null="a run did"),
    },
    "audit": {
        **_RUN,
        "log": Meaning("`predictions` or `feedback`"),
        "check": Meaning("what is the matter, for example `orphan`, `late` or `invalid: no id`"),
        "file": Meaning("the file that is meant", null="the count is about all files of the log"),
        "count": Meaning("how many rows it is about; of a file that cannot be read 0", "rows"),
        "samples": Meaning("a few of the ids, or of the values"),
        "explanation": Meaning("what that means, in a sentence"),
    },
    "runs": {
        **_RUN,
        "asked_start": Meaning("the start of the interval that a backfill was asked for", "UTC", "it was a run"),
        "asked_end": Meaning("its end", "UTC", "it was a run"),
        "backfill": Meaning("the backfill that it is a part of", null="it was a run"),
        "plan": Meaning("the plan, as `sli plan --json` prints it", "JSON"),
        "tiles_recomputed": Meaning("how many tiles it recomputed or amended", "tiles"),
        "results_changed": Meaning("how many rows of `results` it added, changed or removed", "rows"),
        "seconds": Meaning("how long it took, from its start to its commit, with failed attempts", "seconds"),
    },
    "tiles": {
        **_TILE,
        "shadowed": Meaning("predictions that lost to another one with their id", null="in rows of the other spans"),
        "strays": Meaning("feedback that counts for no prediction, and why", null="in rows of the other spans"),
    },
    "days": {"month": Meaning("the month of the day", "`YYYY-MM`"), **_TILE, "start": _START},
    "inputs": {
        "log": Meaning("`predictions` or `feedback`, of several feedback logs with a number"),
        "path": Meaning("the path or URL of the file, without credentials"),
        "fingerprint": Meaning("size and time of its last change, or its ETag: another one means another file"),
        "bytes": Meaning("its size", "bytes"),
        "rows": Meaning("how many rows it has", "rows"),
        "problem": Meaning("the check of the audit by which it is set aside; empty: it is used"),
        "explanation": Meaning("what is wrong with it; empty: nothing"),
        "ranges": Meaning(
            "the first and the last instant of each group of rows, one after another", "µs since 1970, UTC"
        ),
        "row_bytes": Meaning("what a row takes in the columns that are read", "bytes"),
        "null_times": Meaning("how many of its rows have no time", "rows"),
        "columns": Meaning("the stored type of each column that is needed; `hive`: it is a part of the path"),
        "week": Meaning("the first day of the week until which the file matters, or `always`", "`YYYY-MM-DD`"),
    },
    "keys": {
        "log": Meaning("`predictions` or `feedback`"),
        "week": Meaning("the week of the tile", "weeks since 1970"),
        "tile": Meaning("the tile in which the id occurs", "tiles since 1970"),
        "key": Meaning("a hash of the id"),
    },
}
"""What each column of each table means, in the order of the schemas."""
