"""Whether the columns of a file have the types that the config needs; if not, the file is set aside with the reason.

Limit: this sees the types of one file and none of its rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from sli.logs.fields import FLOATS, HIVE, INTEGERS, Unresolved, form_and_type, is_text, resolved, type_of
from sli.logs.files import LogFile
from sli.logs.log import IdPart, Log
from sli.logs.values import misfit
from sli.logs.where import check_condition

NUMBERED = ("file_row_number", "file_index")
"""Columns by which DuckDB numbers the rows of files: a file must not have a column of such a name."""
TIMES = ("timestamp", "date32", "date64")


def with_types(log: Log, file: LogFile, schema: pa.Schema) -> LogFile:
    """The file with the stored types of the needed fields, or set aside because of them."""
    names = Counter(map(str.lower, schema.names))
    for name in dict.fromkeys((*log.needed, *sorted(log.stored))):
        if names[name.lower()] > 1:
            # For SQL `a` and `A` are one name: it would read the first.
            alike = [other for other in schema.names if other.lower() == name.lower()]
            return file.set_aside("ambiguous column", f"'{name}' is one of {', '.join(alike)}: SQL sees no difference")
    if reserved := [name for name in NUMBERED if names[name]]:
        return file.set_aside("ambiguous column", f"column '{reserved[0]}' has a name that DuckDB reserves")
    try:
        types = _types(log, file, schema)
    except Unresolved as unresolved:
        return file.set_aside(unresolved.check, unresolved.explanation)
    for field, problem in _misfits(log, types):
        return file.set_aside("wrong type", f"{_named(field, types)} is {problem}")
    return file._replace(columns=(*types.items(), *((mark, "") for mark in log.marks)))


def _types(log: Log, file: LogFile, schema: pa.Schema) -> dict[str, str]:
    """The stored types of the needed fields, and of the columns that these need. Raises Unresolved."""
    hive = file.folders
    fields = [resolved(field, schema, hive) for field in log.needed]
    types = {field: found[field] for field, found in zip(log.needed, fields, strict=True)}
    for found in fields:
        types |= {name: kind for name, kind in found.items() if name not in types}
    if log.where is not None:
        condition = resolved(f"({log.where})", schema, hive)
        columns = {
            name: pa.field(name, pa.string()) if kind == HIVE else schema.field(name)
            for name, kind in condition.items()
            if name != f"({log.where})"
        }
        check_condition(log.where, columns)
        types |= {name: kind for name, kind in condition.items() if name in columns and name not in types}
    return types


def _named(field: str, types: dict[str, str]) -> str:
    form, _ = form_and_type(types[field])
    return {"": f"column '{field}'", "sql": f"`{field}`"}.get(form, f"field '{field}'")


def _misfits(log: Log, types: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Each field whose type cannot be used, and what it is and should be."""
    for part in log.id:
        kind, expected = type_of(types[part.field]), "text or integers"
        if not _can_be_id(part, kind):
            todo = f"; write `{{column: {part.field}, type: text}}`" if kind.startswith(FLOATS) else ""
            yield part.field, f"{kind}, expected {expected}{todo}"
    if log.time is not None:
        kind = type_of(types[log.time.field])
        if kind == HIVE:
            yield log.time.field, "part of the path, expected timestamps"
        elif not _can_be_time(kind, log.time.unit, log.time.format):
            expected = "numbers" if log.time.unit else "text" if log.time.format else "timestamps"
            todo = (
                ", or a `unit:` if these numbers are times" if kind.startswith(INTEGERS) and not log.time.unit else ""
            )
            yield log.time.field, f"{kind}, expected {expected}{todo}"
    form, kind = form_and_type(types[log.value])
    if kind == HIVE:
        return
    if log.labels:
        if problem := misfit(log, kind):
            yield log.value, f"{kind}, but {problem}"
    elif log.classes:
        whole = any(text.removeprefix("-").isdecimal() for texts in log.spellings for text in texts)
        if not _can_be_class(kind, whole):
            yield log.value, f"{kind}, expected text, {'numbers' if whole else 'integers'} or booleans"
    elif not _is_number(kind) and not (form.startswith("json") and is_text(kind)):
        todo = "; map its texts with `labels:`" if log.binary and is_text(kind) else ""
        yield log.value, f"{kind}, expected numbers or booleans{todo}"


def _can_be_id(part: IdPart, kind: str) -> bool:
    return is_text(kind) or kind.startswith(INTEGERS) or (part.as_text and kind.startswith(FLOATS))


def _can_be_time(kind: str, unit: str | None, format: str | None) -> bool:
    if unit:
        return is_text(kind) or kind.startswith((*INTEGERS, *FLOATS, "decimal"))
    return is_text(kind) or (format is None and kind.startswith(TIMES))


def _can_be_class(kind: str, whole: bool) -> bool:
    """Whether a column of this type may hold classes.

    Floats are allowed only where a class is a whole number: a column of integers with nulls is often stored as floats.
    """
    if kind.startswith(FLOATS):
        return whole
    return is_text(kind) or kind.startswith((*INTEGERS, "bool", "null"))


def _is_number(kind: str) -> bool:
    return kind.startswith((*INTEGERS, *FLOATS, "bool", "decimal", "null"))
