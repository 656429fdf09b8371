"""The columns of every table.

Limit: tiles and days have one more column for each state, named by the state's id (a hash of its content) and of the
`type` of the state.
"""

from __future__ import annotations

import pyarrow as pa

UTC = pa.timestamp("us", tz="UTC")
TEXT = pa.string()
SLICE = pa.map_(TEXT, TEXT)
Fields = list[tuple[str, pa.DataType]]


def _schema(fields: Fields) -> pa.Schema:
    return pa.schema(fields)


RESULT: Fields = [
    ("model", TEXT),
    ("sli", TEXT),
    ("definition", TEXT),
    ("grain", TEXT),
    ("window_start", UTC),
    ("window_end", UTC),
    ("slice_by", pa.list_(TEXT)),
    ("slice", SLICE),
    ("value", pa.float64()),
    ("reason", TEXT),
    ("ci_low", pa.float64()),
    ("ci_high", pa.float64()),
    ("missing_low", pa.float64()),
    ("missing_high", pa.float64()),
    ("error_bound", pa.float64()),
    ("predictions", pa.int64()),
    ("labelled", pa.int64()),
    ("coverage", pa.float64()),
    ("maturity", TEXT),
    ("objective", TEXT),
    ("verdict", TEXT),
    ("as_of", UTC),
    ("run_id", TEXT),
]
"""Columns of a published value."""

RESULTS = _schema([*RESULT, ("day", TEXT)])
"""The newest revision of each value. `day` is the local date the window ends in; the table is partitioned by it and
`grain`."""

REVISIONS = _schema(
    [
        *RESULT,
        ("day", TEXT),
        ("sequence", pa.int64()),
        ("change", TEXT),
        ("cause", TEXT),
        ("old_value", pa.float64()),
        ("old_verdict", TEXT),
        ("backfill", TEXT),
    ]
)
"""All revisions of all values. `change`: added, changed or removed; `sequence` counts publications; `old_value` and
`old_verdict` belong to the revision before; `backfill` is the id of the backfill that published it, if one did."""

CHECK_COUNT = pa.struct(
    [("log", TEXT), ("check", TEXT), ("file", TEXT), ("count", pa.int64()), ("samples", pa.list_(TEXT))]
)
SUPERSEDED = pa.struct([("id", TEXT), ("winner", pa.float64())])
UNMATCHED = pa.struct([("id", TEXT), ("time", UTC), ("reason", TEXT)])

TILE: Fields = [
    ("day", TEXT),
    ("span", TEXT),
    ("start", UTC),
    ("slice_by", TEXT),
    ("slice", TEXT),
    ("predictions", pa.int64()),
    ("labelled", pa.int64()),
]

TILES = _schema(
    [*TILE, ("marks", pa.list_(CHECK_COUNT)), ("shadowed", pa.list_(SUPERSEDED)), ("strays", pa.list_(UNMATCHED))]
)
"""`span`: `tile` (a mergeable state), `hour` or `day` (a value that does not merge), `pairs` (for the
audit of a tile: counts of checks in `marks`; in `shadowed` superseded predictions), `feedback`
(counts of checks of the feedback known in that time; in `strays` unmatched feedback)."""

DAYS = _schema([("month", TEXT), *TILE, ("marks", pa.list_(CHECK_COUNT))])
"""Tiles of whole local days, merged from hour tiles; `month` is the partition column. In spans `pairs`
and `feedback`, `marks` has the counts of checks of the day, and counts unmatched feedback by its reason."""

ID_INDEX = _schema([("log", TEXT), ("week", TEXT), ("tile", pa.int64()), ("key", pa.int64())])
"""The index of ids: a hash of each id, and the number of its tile; it is partitioned by `log` and `week`, the number of
the tile's week since 1970."""

AUDIT = _schema(
    [
        ("run_id", TEXT),
        ("sequence", pa.int64()),
        ("as_of", UTC),
        ("log", TEXT),
        ("check", TEXT),
        ("file", TEXT),
        ("count", pa.int64()),
        ("samples", pa.list_(TEXT)),
        ("explanation", TEXT),
    ]
)

FILE: Fields = [
    ("log", TEXT),
    ("path", TEXT),
    ("fingerprint", TEXT),
    ("bytes", pa.int64()),
    ("rows", pa.int64()),
    ("problem", TEXT),
    ("explanation", TEXT),
    ("ranges", pa.list_(pa.int64())),
    ("row_bytes", pa.float64()),
    ("null_times", pa.int64()),
    ("columns", SLICE),
]
"""Columns of a file of a log; `ranges` has the first and last instant of each group of rows."""

FILES = _schema(FILE)

INPUTS = _schema([*FILE, ("week", TEXT)])
"""The files that the last published run saw. `week` is the first day of the week until which a file matters, or
`always`; the table is partitioned by it."""

RUNS = _schema(
    [
        ("run_id", TEXT),
        ("sequence", pa.int64()),
        ("as_of", UTC),
        ("asked_start", UTC),
        ("asked_end", UTC),
        ("backfill", TEXT),
        ("plan", TEXT),
        ("tiles_recomputed", pa.int64()),
        ("results_changed", pa.int64()),
        ("seconds", pa.float64()),
    ]
)
"""`plan` is the plan of the run as JSON; `seconds` lasts from its start to its commit, including failed attempts."""
