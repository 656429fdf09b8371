"""Errors a person can act on, made of what pydantic reports.

Limit: the first wrong key is explained in full, the others are named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sli.config.model import Config
from sli.config.sections import (
    Factory,
    Feedback,
    Predictions,
    Quantiles,
    Scheduler,
    Section,
    SliceSet,
    Sliding,
    Workers,
)
from sli.errors import ConfigError, nearest

_MODELS: dict[str, tuple[type[Section], ...]] = {
    "predictions": (Predictions,),
    "feedback": (Feedback,),
    "grains": (Sliding,),
    "slice_by": (SliceSet,),
    "bins": (Quantiles,),
    "dask": (Workers, Scheduler, Factory),
}
_KINDS = {"grains": 2, "bins": 2, "dask": 1, "since": 1}
"""Keys whose value is of one of several kinds, and where in a report's place pydantic names the kind it tried."""
_EXPECTED = {
    "bins": "{column: edges}, such as {fare: [10, 20, 50]}",
    "classes": "a list of names, such as [cat, dog]",
    "columns": "a list of columns, such as [region]",
    "factory": "module:function, such as my_cluster:client",
    "grains": "a list, such as [hour, day, {size: 7d}]",
    "level": "a number between 0 and 1, such as 0.95",
    "max_conflicts": "a share from 0 to 1, such as 0.01",
    "min_support": "a whole number, 0 or more",
    "options": "keyword arguments, such as {workers: 20}",
    "quantiles": "a whole number from 2 to 100",
    "scores": "{class: column}, such as {cat: p_cat, dog: p_dog}",
    "scheduler": "an address, such as tcp://host:8786",
    "since": "ISO 8601, such as 2013-02-01",
    "slice_by": "a list of lists, such as [[], [region]]",
    "slis": "a list, such as [accuracy]",
    "threshold": "a number from 0 to 1",
    "top": "a whole number, 1 or more",
    "workers": "a whole number from 1 to 10000",
}
_WHAT = {
    "tuple_type": "this must be a list",
    "dict_type": "this must be a mapping",
    "mapping_type": "this must be a mapping",
    "model_type": "this must be a mapping",
    "model_attributes_type": "this must be a mapping",
    "string_type": "this must be text",
    "int_": "this must be a whole number",
    "float_": "this must be a number",
    "finite_number": "this must be a number",
    "greater_than": "the number is out of range",
    "less_than": "the number is out of range",
}
"""What is wrong, by how pydantic's name of the mistake begins."""
_EDGES = "edges such as [10, 20, 50], or {quantiles: 4, table: train.parquet}"
_SET = "a list of columns such as [region], or {columns: [region], top: 20}"


def explained(error: ValidationError, where: str, tree: dict[str, Any]) -> ConfigError:
    found = [_problem(each, _path(each, tree)) for each in error.errors() if _meant(each, tree)]
    found.sort(key=lambda problem: not problem.what.startswith("unknown key"))
    # A misspelt key is unknown and its right name is missing: one mistake.
    misspelt = {problem.where.rpartition(".")[0] + problem.todo for problem in found}
    found = [
        each
        for each in found
        if f"{each.where.rpartition('.')[0]}did you mean '{each.where.rpartition('.')[2]}'?" not in misspelt
    ]
    # Of several items of one key with the same mistake the first is enough.
    first = list({problem.where.split(".")[0] + problem.what: problem for problem in reversed(found)}.values())[::-1]
    main, rest = first[0], first[1:]
    main.where = f"{where}, key {main.where}"
    main.others = "\n".join(f"also {each.where}: {each.what}" for each in rest)
    return main


def _meant(each: Mapping[str, Any], tree: Any) -> bool:
    """Whether a report is about the kind that the value, of several allowed kinds, was meant to be."""
    loc = each["loc"]
    at = _KINDS.get(str(loc[0]))
    if at is None or len(loc) <= at:
        return True
    value, kind = _at(tree, loc[:at]), str(loc[at])
    if loc[0] == "since":
        return kind == "str"
    if isinstance(value, Mapping):
        models = {model.__name__: len(model.model_fields.keys() & value.keys()) for model in _MODELS[loc[0]]}
        return kind == max(models, key=lambda name: models[name])
    return not kind[:1].isupper()


def _at(tree: Any, path: Sequence[Any]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _path(each: Mapping[str, Any], tree: Any) -> list[str]:
    """The keys that lead to a reported value as they stand in the config."""
    loc = list(each["loc"])
    if len(loc) > (at := _KINDS.get(loc[0], len(loc))):
        del loc[at]
    if loc[0] == "slice_by" and loc[2:3] == ["columns"] and not isinstance(_at(tree, loc[:2]), Mapping):
        del loc[2]
    return [str(part) for part in loc]


def _problem(each: Mapping[str, Any], path: Sequence[str]) -> ConfigError:
    models: tuple[type[Section], ...] = _MODELS.get(path[0], (Config,)) if len(path) > 1 else (Config,)
    where, kind, found = ".".join(path), str(each["type"]), repr(each["input"])
    if kind == "extra_forbidden":
        valid = [name for model in models for name in model.model_fields if name != "folder"]
        if path[-1] in valid:
            kinds = " or ".join(f"{{{', '.join(model.model_fields)}}}" for model in models)
            return ConfigError(f"'{path[-1]}' does not go with the keys beside it", where=where, expected=kinds)
        return ConfigError(
            f"unknown key '{path[-1]}'",
            where=where,
            expected=f"one of {', '.join(valid)}",
            todo=nearest(path[-1], valid),
        )
    if kind == "missing":
        return ConfigError(
            f"'{path[-1]}' is missing", where=where, todo=f"add `{path[-1]}:`; `sli init` writes a commented config"
        )
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", str(each["ctx"]["expected"]))
        return ConfigError(
            "not an allowed value",
            where=where,
            expected=" or ".join(
                [
                    *valid,
                    *{
                        "grains": ["{size: 7d}"],
                        "dask": ["{workers: 4}", "{scheduler: ADDRESS}", "{factory: MODULE:FUNCTION}"],
                    }.get(path[0], []),
                ]
            ),
            found=str(each["input"]),
            todo=nearest(str(each["input"]), valid),
        )
    if kind == "string_pattern_mismatch":
        return ConfigError("this is no size", where=where, expected="such as 2GB or 512MiB", found=found)
    what = _WHAT.get(kind) or next((text for start, text in _WHAT.items() if kind.startswith(start)), "")
    if path[0] == "slice_by" and kind.startswith("model"):
        what = _WHAT["tuple_type"]
    if what:
        return ConfigError(what, where=where, expected=_expected(path), found=found)
    what = str(each["msg"]).removeprefix("Value error, ")
    return ConfigError(what[:1].lower() + what[1:], where=where, found=found)


def _expected(path: Sequence[str]) -> str:
    if path[0] == "slice_by" and len(path) == 2:
        return _SET
    if path[0] == "bins" and len(path) > 1 and path[2:] not in (["quantiles"], ["table"]):
        return _EDGES
    named = [part for part in path if not part.isdigit()]
    nested = len(named) < len(path) and path[-1].isdigit()
    return "a name; in quotes if YAML reads it otherwise" if nested else _EXPECTED.get(named[-1], "")
