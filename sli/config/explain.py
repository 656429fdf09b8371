"""Turns what pydantic reports about a config into an error that says what to do.

Limit: the first wrong key is explained in full, the others are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, get_args

from sli.config.extends import EXTENDS, place_of
from sli.config.log_sections import A_FIELD, Feedback, TimeColumn, TimeFrom, TypedId
from sli.config.model import Config
from sli.config.sections import CLUSTERS, Quantiles, Section, SliceSet, Sliding
from sli.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

WHAT = {
    "tuple_type": "this must be a list",
    "too_short": "the list is empty",
    "dict_type": "this must be a mapping",
    "mapping_type": "this must be a mapping",
    "model_": "this must be a mapping",
    "string_type": "this must be text",
    "string_pattern_mismatch": "this is not a size of memory",
    "int_": "this must be a whole number",
    "float_": "this must be a number",
    "finite_number": "this must be a number",
    "greater_than": "the number is out of range",
    "less_than": "the number is out of range",
}
"""What is wrong, by the beginning of pydantic's name of the mistake."""
SECTION_OF_TAG: Mapping[str, type[Section]] = {
    f"<{section.__name__}>": section
    for section in (*CLUSTERS, Sliding, SliceSet, Quantiles, TypedId, TimeColumn, TimeFrom, Feedback)
}
EXPECTED_OF_TAG = {
    "<cluster>": "in-process or {workers: 4} or {scheduler: ADDRESS} or {factory: MODULE:FUNCTION}",
    "<grain>": "hour or day or week or month or cumulative or {size: 7d}",
    "<columns>": "a list of columns, for example [region], or {columns: [region], top: 20}",
    "<id>": f"{A_FIELD}; several as a list",
    "<parts>": "a list of columns, for example [request_id, model]",
    "<field>": A_FIELD,
    "<column names>": "a list of columns, for example [region]",
    "<class names>": "a list of names, for example [cat, dog]",
    "<fields>": "a mapping, for example {country: payload.country}",
    "<list of scores>": "a column with the list of scores, or {class: column}",
    "<class scores>": "{class: column}, for example {cat: p_cat, dog: p_dog}, or one column with the list of scores",
    "<classes>": "a mapping, for example {cat: [Cat, CAT]}",
    "<logs>": "the keys of a feedback log, or a list of several",
    "<edges>": "edges, for example [10, 20, 50], or {quantiles: 4, table: train.parquet}",
}


def explained(error: ValidationError, where: str) -> ConfigError:
    """One error for all wrong keys. `where` is the config's file."""
    problems = [_problem(report) for report in error.errors()]
    problems.sort(key=lambda problem: not problem.what.startswith("unknown key"))
    # A misspelt key is unknown and its right name is missing: one mistake.
    misspelt = {problem.where.rpartition(".")[0] + problem.todo for problem in problems}
    problems = [
        problem
        for problem in problems
        if f"{problem.where.rpartition('.')[0]}did you mean '{problem.where.rpartition('.')[2]}'?" not in misspelt
    ]
    # If several items of a key have the same mistake, name only the first.
    distinct: dict[str, ConfigError] = {}
    for problem in problems:
        key = re.split(r"[.[]", problem.where)[0]
        distinct.setdefault(key + problem.what, problem)
    first, *others = distinct.values()
    first.where = f"{where}, key {first.where}"
    first.others = "\n".join(f"also {problem.where}: {problem.what}" for problem in others)
    return first


def _problem(report: ErrorDetails) -> ConfigError:
    path, section, expected = _place(report["loc"])
    key, where, kind, found = str(path[-1]), place_of(path), report["type"], repr(report["input"])
    if kind == "extra_forbidden":
        return _unknown_key(key, where, section)
    if kind == "missing":
        return ConfigError(
            f"'{key}' is missing", where=where, todo=f"add `{key}:`; `sli init` writes a commented config"
        )
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", str(report["ctx"]["expected"]))
        value = str(report["input"])
        return ConfigError(
            "this is not an allowed value",
            where=where,
            expected=expected or " or ".join(valid),
            found=value,
            todo=nearest(value, valid),
        )
    if kind == "string_type" and isinstance(path[-1], int):
        expected = "a name; put it in quotes if YAML reads it as something else"
    what = next((text for start, text in WHAT.items() if kind.startswith(start)), "")
    if what:
        return ConfigError(what, where=where, expected=expected, found=found)
    what = report["msg"].removeprefix("Value error, ")
    return ConfigError(what[:1].lower() + what[1:], where=where, found=found)


def _place(loc: Iterable[str | int]) -> tuple[list[str | int], type[Section], str]:
    """The keys that lead to a reported value, its section, and what is expected there."""
    path: list[str | int] = []
    section: type[Section] = Config
    expected = ""
    for part in loc:
        if isinstance(part, int):
            path.append(part)
        elif part in SECTION_OF_TAG:
            section = SECTION_OF_TAG[part]
        elif part in EXPECTED_OF_TAG:
            expected = EXPECTED_OF_TAG[part]
        else:
            path.append(part)
            if field := section.field_of(part):
                expected = field.description or ""
                section = _section_of(field.annotation) or section
    return path, section, expected


def _section_of(annotation: object) -> type[Section] | None:
    """The section that a key holds, also one that may be left out, or several in a list; None if it holds another."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def _unknown_key(key: str, where: str, section: type[Section]) -> ConfigError:
    sections = CLUSTERS if section in CLUSTERS else (section,)
    valid = [name for section in sections for name in section.config_keys()]
    valid += [EXTENDS] * (section is Config)
    if key in valid:
        kinds = " or ".join(f"{{{', '.join(section.config_keys())}}}" for section in sections)
        return ConfigError(f"'{key}' does not go with the other keys here", where=where, expected=kinds)
    return ConfigError(
        f"unknown key '{key}'", where=where, expected=f"one of {', '.join(valid)}", todo=nearest(key, valid)
    )
