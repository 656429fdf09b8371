"""The id and the value of a row in SQL.

An id of several columns is one text with the parts in their order: `r1|champion`. In all parts but the last a `|` or a
backslash gets a backslash before it, so different parts never give one text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sli.engine.sql import literal, text_of
from sli.logs.fields import field_sql, form_and_type, path_of, type_of
from sli.logs.log import IdPart, Log
from sli.logs.times import is_text

EXACT = 1 << 53
"""Floats below this hold every whole number."""
UNMAPPED = 2.0
"""The value of a row whose label the config does not map."""


def id_sql(log: Log, types: Mapping[str, str]) -> str:
    """SQL of the id of a row as text; null if a part of it is null."""
    *firsts, last = (_part_sql(part, types) for part in log.id)
    kinds = (type_of(types[part.field]) for part in log.id)
    return " || '|' || ".join([*(_escaped(part, kind) for part, kind in zip(firsts, kinds, strict=False)), last])


def _part_sql(part: IdPart, types: Mapping[str, str]) -> str:
    value, kind = field_sql(part.field, types), type_of(types[part.field])
    if part.as_text and kind.startswith(("float", "double", "halffloat")):
        # A column of integers is stored as floats in files in which it has nulls.
        return (
            f"CASE WHEN {value} = floor({value}) AND abs({value}) < {EXACT} THEN {value}::BIGINT::VARCHAR "
            f"ELSE {value}::VARCHAR END"
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
        return class_sql(value, log.spellings)
    if log.labels:
        return _label_sql(value, kind, log)
    if form and is_text(kind):
        return f"CASE WHEN {value} IS NOT NULL THEN coalesce(TRY_CAST({value} AS DOUBLE), 'nan'::DOUBLE) END"
    return f"{value}::DOUBLE"


def class_sql(value: str, spellings: Sequence[Sequence[str]]) -> str:
    """SQL of the position of a class from 0; -1 for any other text, and null for null."""
    texts = ", ".join(literal(text) for several in spellings for text in several)
    place = f"coalesce(list_position([{texts}], {text_of(value)}), 0) - 1"
    if any(len(several) > 1 for several in spellings):
        positions = [-1, *(position for position, several in enumerate(spellings) for _ in several)]
        place = f"{positions}[{place} + 2]"
    return f"CASE WHEN {value} IS NOT NULL THEN {place} END::DOUBLE"


def _label_sql(value: str, kind: str, log: Log) -> str:
    branches = (
        f"WHEN {value} IN ({_constants(texts, kind)}) THEN {n}" for texts, n in ((log.positive, 1), (log.negative, 0))
    )
    return f"CASE WHEN {value} IS NULL THEN NULL {' '.join(branches)} ELSE {UNMAPPED} END::DOUBLE"


def _constants(values: Sequence[bool | int | float | str], kind: str) -> str:
    """Labels of the config as SQL constants of the type of their column."""
    if is_text(kind):
        return ", ".join(literal(str(value)) for value in values)
    return ", ".join(str(value).lower() for value in values)


def misfit(log: Log, kind: str) -> str:
    """Why the labels of the config cannot be values of a column of this type; empty if they can."""
    for key, values in (("positive", log.positive), ("negative", log.negative)):
        for value in values:
            boolean, text = isinstance(value, bool), isinstance(value, str)
            if is_text(kind) and boolean:
                return f"`labels.{key}` has {str(value).lower()}: write the text in quotes"
            if not is_text(kind) and (text or boolean != (kind == "bool")):
                return f"`labels.{key}` has {str(value).lower() if boolean else repr(value)}"
    return ""


def is_computed(log: Log) -> bool:
    """Whether the value is not a column, so that it may be text that is not a number."""
    path = path_of(log.value)
    return path is None or bool(path.steps)
