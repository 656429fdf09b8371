"""Update what stored tiles have for the audit: subtract the old contribution of the changed pairs, add the new one.

These are the rows of spans `pairs` and `feedback`: counts of checks with sample ids (column `marks`), predictions that
lost to one in another tile (`shadowed`) and unmatched feedback (`strays`). Limit: at most SAMPLES ids of a check are
stored, so if one of them must go, its successor is not always known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Literal, TypedDict, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import Interval, meets_any
from sli.matching.spec import SAMPLES
from sli.schemas import CHECK_COUNT, SUPERSEDED, UNMATCHED, UTC
from sli.slis.states import CannotAmend

RowKey = tuple[str, datetime]
"""Span and start of a row."""
Element = Mapping[str, object]


class CheckCount(TypedDict):
    """How many rows a check counts, for example duplicates, and the ids of some of them."""

    log: str
    check: str
    file: str | None
    count: int
    samples: list[str]


class AuditRow(TypedDict, total=False):
    """What a tile stores for the audit; None stands for an empty list."""

    day: str
    span: str
    start: datetime
    marks: list[CheckCount] | None
    shadowed: list[Element] | None
    strays: list[Element] | None


AuditRows = Mapping[RowKey, AuditRow]


def audit_rows(
    tiles: pa.Table, held: Iterable[Interval], only: Collection[RowKey] | None = None
) -> dict[RowKey, AuditRow]:
    """The rows of spans `pairs` and `feedback` of tiles, without rows of span `pairs` of the tiles `held`.

    With `only`, those of these keys. Of a busy hour they may be large.
    """
    names = [name for name in AuditRow.__annotations__ if name in tiles.schema.names]
    audit = tiles.select(names).filter(pc.is_in(tiles.column("span"), pa.array(["pairs", "feedback"])))
    starts = audit.column("start").cast(pa.int64()).to_numpy()
    # Arrow does not know the type of its rows.
    keys = cast("list[RowKey]", list(zip(*(audit.column(name).to_pylist() for name in ("span", "start")), strict=True)))
    pairs = np.array([span == "pairs" for span, _ in keys], dtype=bool)
    asked = np.array([only is None or key in only for key in keys], dtype=bool)
    kept = audit.filter(pa.array(asked & ~(meets_any(starts, starts + 1, held) & pairs)))
    return {(row["span"], row["start"]): cast(AuditRow, row) for row in kept.to_pylist()}


def changed_audit(before: AuditRows, after: AuditRows) -> dict[RowKey, str]:
    """The days of the rows that differ."""
    return {
        key: (after.get(key) or before[key])["day"] for key in {*before, *after} if before.get(key) != after.get(key)
    }


def amend_audit(stored: AuditRows, before: AuditRows, after: AuditRows, days: Mapping[RowKey, str]) -> pa.Table:
    """The rows named by `days`: `stored` minus the contribution `before` plus the contribution `after`.

    Raises CannotAmend.
    """
    nothing: AuditRow = {}
    rows = []
    for key in sorted(days):
        sides = tuple(rows.get(key) or nothing for rows in (stored, before, after))
        row = {
            "marks": _amend_checks(*(side.get("marks") or [] for side in sides)) or None,
            "shadowed": _amend_list("shadowed", ("id", "winner"), *sides) or None,
            "strays": _amend_list("strays", ("id", "time", "reason"), *sides) or None,
        }
        if any(row.values()):
            rows.append({"day": days[key], "span": key[0], "start": key[1], **row})
    lists = {"marks": pa.list_(CHECK_COUNT), "shadowed": pa.list_(SUPERSEDED), "strays": pa.list_(UNMATCHED)}
    fields: dict[str, pa.DataType] = {"day": pa.string(), "span": pa.string(), "start": UTC, **lists}
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    for name in ("slice_by", "slice"):
        table = table.append_column(name, pa.repeat("", len(table)))
    for name in ("predictions", "labelled"):
        table = table.append_column(name, pa.repeat(0, len(table)))
    return table


def _amend_list(
    name: Literal["shadowed", "strays"], fields: tuple[str, ...], stored: AuditRow, before: AuditRow, after: AuditRow
) -> list[dict[str, object]]:
    """The amended list, where every element is stored. Raises CannotAmend."""
    kept, lost, gained = (
        Counter(tuple(element[field] for field in fields) for element in row.get(name) or ())
        for row in (stored, before, after)
    )
    if lost - kept:
        raise CannotAmend
    elements = sorted((kept - lost + gained).elements(), key=_nulls_first)
    return [dict(zip(fields, element, strict=True)) for element in elements]


def _amend_checks(stored: list[CheckCount], before: list[CheckCount], after: list[CheckCount]) -> list[CheckCount]:
    """The amended counts of checks with their first ids. Raises CannotAmend."""
    by_check = [
        {(entry["log"], entry["check"], entry["file"]): entry for entry in counts} for counts in (stored, before, after)
    ]
    amended: list[CheckCount] = []
    for key in sorted({*by_check[0], *by_check[1], *by_check[2]}, key=_nulls_first):
        log, check, file = key
        nothing = CheckCount(log=log, check=check, file=file, count=0, samples=[])
        kept, lost, gained = (counts.get(key, nothing) for counts in by_check)
        count = kept["count"] - lost["count"] + gained["count"]
        more = Counter(gained["samples"]) - Counter(lost["samples"])
        less = Counter(lost["samples"]) - Counter(gained["samples"])
        known = Counter(kept["samples"])
        if count < 0 or (less and (len(kept["samples"]) >= SAMPLES or less - known)):
            raise CannotAmend
        samples = sorted((known - less + more).elements())[:SAMPLES]
        if count:
            amended.append(CheckCount(log=log, check=check, file=file, count=count, samples=samples))
    return amended


def _nulls_first(fields: tuple[object, ...]) -> tuple[tuple[bool, object], ...]:
    """A key to sort by, where some fields are None."""
    return tuple((field is not None, field) for field in fields)
