"""What a case of the corpus of hostile files is: how its file is made, and what is expected to become of it.

A case has a folder of its own in a log, `case=NAME`, by which the tests slice: so one run over all cases tells of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
ZONED = pa.timestamp("us", tz="UTC")
N = 6
FILE = "x.parquet"
LOGS = ("predictions", "feedback")


@dataclass(frozen=True)
class Read:
    """So many rows of the file count. `audited`: how many others each check of the audit counts."""

    rows: int = N
    audited: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Aside:
    """The file is set aside: the check of the audit, a part of its reason, and the rows it counts.

    Of a file whose footer cannot be read nobody knows how many rows it has: it counts none.
    """

    check: str
    reason: str
    rows: int = 0


Outcome = Read | Aside
Make = Callable[[Path, pa.Table], object]
"""Writes the file of a case, given six good rows: id, at, value."""


@dataclass(frozen=True)
class Case:
    """A hostile file and what is expected of it in each log; None: the case is not made for that log."""

    name: str
    make: Make
    predictions: Outcome | None
    feedback: Outcome | None
    both: bool = False
    """Whether the feedback of the hostile file is made in the same way: its ids are odd ones."""

    def outcome(self, log: str) -> Outcome | None:
        return self.predictions if log == "predictions" else self.feedback


CASES: dict[str, Case] = {}
"""All cases, by name."""


def case(name: str, make: Make, outcome: Outcome | None, feedback: Outcome | str | None = "the same") -> None:
    """Add a case to the corpus, for both logs if nothing else is said."""
    assert name not in CASES, name
    CASES[name] = Case(name, make, outcome, outcome if isinstance(feedback, str) else feedback)


def case_of_ids(name: str, make: Make, outcome: Outcome) -> None:
    """Add a case whose odd ids are those of its predictions and of their feedback."""
    assert name not in CASES, name
    CASES[name] = Case(name, make, outcome, None, both=True)


def rows(log: str, name: str, n: int = N) -> pa.Table:
    """Good rows: each prediction of a case has its feedback, known an hour later."""
    later = timedelta(hours=log == "feedback")
    values = [float(i % 2) for i in range(n)] if log == "feedback" else [(i % N + 0.5) / N for i in range(n)]
    return pa.table(
        {
            "id": [f"{name}-{i}" for i in range(n)],
            "at": pa.array([TEN + later + timedelta(milliseconds=i) for i in range(n)], ZONED),
            "value": values,
        }
    )


def raw(table: pa.Table, **options: Any) -> bytes:
    """The bytes of a table as a Parquet file."""
    out = pa.BufferOutputStream()
    pq.write_table(table, out, **({"compression": "none"} | options))
    return bytes(out.getvalue())


def written(change: Callable[[pa.Table], pa.Table], **options: Any) -> Make:
    """Writes a table after a change, with options of pyarrow's writer."""
    return lambda path, good: pq.write_table(change(good), path, **options)


def as_bytes(change: Callable[[bytes], bytes], **options: Any) -> Make:
    """Writes the bytes of the good file after a change, with options of pyarrow's writer."""
    return lambda path, good: path.write_bytes(change(raw(good, **options)))


def with_column(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    """The good rows with a column replaced, or added."""

    def change(good: pa.Table) -> pa.Table:
        column = pa.chunked_array([values]) if isinstance(values, pa.Array) else values(good)
        place = good.schema.get_field_index(name)
        return good.append_column(name, column) if place < 0 else good.set_column(place, name, column)

    return change
