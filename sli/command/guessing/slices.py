"""What may be a slice, a condition (`where`), or the query of a ranking.

Limit: only texts of few values are offered, so codes in numbers are not.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from sli.command.guessing.choose import Guess
from sli.command.guessing.fields import Field
from sli.command.guessing.ids import MODEL
from sli.command.guessing.sample import Sample
from sli.engine.sql import literal
from sli.slis.formula import PAIR_COLUMNS

FEW = 20
"""Texts with at most this many values are offered as slices."""
LONG = 60
"""Values longer than this are free text."""
CONDITION = re.compile(
    r"(^|_)(env|environment|kind|type|event|event_type|stage|status|state|is_test|test|is_shadow|shadow|traffic|mode|"
    r"dataset|split|namespace|tenant|label_source|source_system)$"
)
"""How fields are named that say which rows of a log are meant."""
QUERY = re.compile(r"(.*_)?(query|session|request|search)_?(id|uuid|guid|key|hash)?")
PARTITION = re.compile(r"(date|day|dt|ds|hour|hr|month|year|week|time|ts|y|m|d|h)")


def slice_names(sample: Sample, used: Collection[str]) -> list[str]:
    """Texts of few values, but not those that only partition the log by time."""
    return [f.name for f in sample.fields.values() if f.name not in used and _is_slice(f)]


def _is_slice(field: Field) -> bool:
    if not field.is_text or field.expression or field.name in PAIR_COLUMNS or "," in field.name:
        return False
    if field.hive and PARTITION.fullmatch(field.leaf):
        return False
    values = field.total or len(field.counts)
    repeats = field.hive or 3 * values <= len(field.known)
    short = all(len(str(value)) <= LONG for value in field.counts)
    return short and repeats and (1 if "version" in field.leaf else 2) <= values <= FEW


def conditions(sample: Sample, used: Collection[str], divider: str = "") -> list[Guess]:
    """SQL conditions on fields that say which rows are meant, the most common value first; to check: all values."""
    found = []
    for field in sample.fields.values():
        few = (field.is_text or field.is_boolean) and 2 <= (field.total or len(field.counts)) <= FEW
        sounds = CONDITION.search(field.leaf) or MODEL.search(field.leaf)
        if field.name == divider or (few and sounds and field.name not in used):
            found.append((field.name != divider, not CONDITION.search(field.leaf), _condition(field)))
    return [condition for _, _, condition in sorted(found, key=lambda each: each[:2])]


def _condition(field: Field) -> Guess:
    rows = sum(field.counts.values())
    shares = [f"{value} {_percent(count, rows)}" for value, count in list(field.counts.items())[:4]]
    more = f", and {len(field.counts) - 4} more" if len(field.counts) > 4 else ""
    value = next(iter(field.counts))
    sql = f"{field.sql} = {literal(value)}" if isinstance(value, str) else f"{'NOT ' * (not value)}{field.sql}"
    return Guess(sql, f"only such rows? {field.name} is {', '.join(shares)}{more}")


def _percent(count: int, rows: int) -> str:
    share = 100 * count / rows
    return f"{share:.0f}%" if share >= 1 else f"{share:.1g}%"


def query_name(sample: Sample, used: Collection[str]) -> str:
    """A field named like the id of a query, with values that several predictions share; or empty."""
    for field in sample.fields.values():
        if field.name in used or field.hive or field.expression or not QUERY.fullmatch(field.leaf):
            continue
        if (field.is_text or field.is_whole) and 1 < len(field.distinct) < len(field.known):
            return field.name
    return ""
