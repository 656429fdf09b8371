"""The id and the value of a row in SQL.

An id of several columns is one text with the parts in their order: `r1|champion`. In all parts but the last a `|` or a
backslash gets a backslash before it, so different parts never give one text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sli.engine.sql import literal, text_of
from sli.logs.fields import FLOATS, columns_of, field_sql, form_and_type, is_text, json_text_sql, type_of
from sli.logs.log import IdPart, Log

LARGE = 9e18
"""Whole floats below this fit 64 bits."""
NAN = "'nan'::DOUBLE"
UNMAPPED = 2.0
"""The value of a row whose label the config does not map."""


def id_sql(log: Log, types: Mapping[str, str]) -> str:
    """SQL of the id of a row as text; null if a part of it is null."""
    parts = [_part_sql(part, types) for part in log.id]
    if len(parts) == 1:
        return parts[0]
    kinds = (type_of(types[part.field]) for part in log.id)
    texts = [_escaped(part, kind) for part, kind in zip(parts[:-1], kinds, strict=False)]
    present = " AND ".join(f"({part}) IS NOT NULL" for part in parts)
    # One concat of all is faster than `||` between each two, but takes a null for an empty text.
    return (
        f"CASE WHEN {present} THEN concat({', '.join(f'{text}, ' + literal('|') for text in texts)}, {parts[-1]}) END"
    )


def _part_sql(part: IdPart, types: Mapping[str, str]) -> str:
    value, kind = field_sql(part.field, types), type_of(types[part.field])
    if part.as_text and kind.startswith(FLOATS):
        # A column of integers is stored as floats in files in which it has nulls.
        return (
            f"CASE WHEN isnan({value}) THEN NULL WHEN {value} = floor({value}) AND abs({value}) < {LARGE} "
            f"THEN TRY({value}::BIGINT)::VARCHAR ELSE {value}::VARCHAR END"
        )
    return f"{value}::VARCHAR"


def _escaped(text: str, kind: str) -> str:
    if not is_text(kind):
        return f"({text})"
    replaced = rf"replace(replace({text}, '\', '\\'), '|', '\|')"
    return rf"(CASE WHEN contains({text}, '|') OR contains({text}, '\') THEN {replaced} ELSE {text} END)"


def value_sql(log: Log, types: Mapping[str, str]) -> str:
    """SQL of the value of a row as a number: of a class its position, of a label 1 or 0, else the number itself."""
    form, kind = form_and_type(types[log.value])
    value = field_sql(log.value, types)
    if log.spellings:
        number, invalid = class_sql(value, log.spellings), "-1"
    elif log.labels:
        number, invalid = _label_sql(value, kind, log), str(UNMAPPED)
    elif form and is_text(kind):
        number, invalid = f"CASE WHEN {value} IS NOT NULL THEN coalesce(TRY_CAST({value} AS DOUBLE), {NAN}) END", NAN
    else:
        return f"{value}::DOUBLE"
    broken = broken_sql(log, types)
    return f"CASE WHEN {broken} THEN {invalid}::DOUBLE ELSE {number} END" if broken else number


def broken_sql(log: Log, types: Mapping[str, str]) -> str:
    """SQL condition: the value is null only because its text is not JSON; empty if it is not in a JSON text.

    Such a row is invalid, while a null has a meaning.
    """
    text = json_text_sql(log.value, types)
    return f"{field_sql(log.value, types)} IS NULL AND NOT json_valid({text})" if text else ""


def class_sql(value: str, spellings: Sequence[Sequence[str]]) -> str:
    """SQL of the position of a class from 0; -1 for any other text, and null for null."""
    texts = ", ".join(literal(text) for several in spellings for text in several)
    place = f"coalesce(list_position([{texts}], {text_of(value)}), 0) - 1"
    if any(len(several) > 1 for several in spellings):
        positions = [-1, *(position for position, several in enumerate(spellings) for _ in several)]
        place = f"{positions}[{place} + 2]"
    return f"CASE WHEN {value} IS NOT NULL THEN {place} END::DOUBLE"


def _label_sql(value: str, kind: str, log: Log) -> str:
    lists = ((_constants(log.positive, kind), 1), (_constants(log.negative, kind), 0))
    branches = (f"WHEN {value} IN ({', '.join(constants)}) THEN {number}" for constants, number in lists if constants)
    return f"CASE WHEN {value} IS NULL THEN NULL {' '.join(branches)} ELSE {UNMAPPED} END::DOUBLE"


def _constants(values: Sequence[bool | int | float | str], kind: str) -> list[str]:
    """The labels of the config that a column of this type may have, as SQL constants."""
    if is_text(kind):
        return [literal(str(value)) for value in values if not isinstance(value, bool)]
    wanted = (bool,) if kind == "bool" else (int, float)
    return [
        str(value).lower()
        for value in values
        if isinstance(value, wanted) and isinstance(value, bool) == (kind == "bool")
    ]


def misfit(log: Log, kind: str) -> str:
    """Why no label of the config can be a value of a column of this type; empty if one can."""
    values = (*log.positive, *log.negative)
    if is_text(kind) and any(isinstance(value, bool) for value in values):
        key = "positive" if any(isinstance(value, bool) for value in log.positive) else "negative"
        value = next(value for value in getattr(log, key) if isinstance(value, bool))
        return f"`labels.{key}` has {str(value).lower()}: write the text in quotes"
    if _constants(values, kind):
        return ""
    first = values[0]
    shown, quotes = str(first).lower() if isinstance(first, bool) else repr(first), ""
    if isinstance(first, str) and (kind == "bool") == (first.lower() in ("true", "false")):
        quotes = ": write it without quotes"
    return f"`labels.positive` has {shown}{quotes}"


def is_computed(log: Log) -> bool:
    """Whether the value is not simply a column, so that it may be text that is not a number."""
    return columns_of(log.value) != {log.value}
