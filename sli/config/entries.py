"""Config entries to SLIs: a name, a mapping with parameters, SQL states or a Python function.

A parameter given a list makes an SLI for each of its values, named after them. Limit: what depends on the logs' own
columns (SQL, types) is checked when the logs are discovered.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from sli.calendar.zone import Zone
from sli.config.references import parse_reference
from sli.engine.storage import NOTHING, Storage
from sli.errors import ConfigError, nearest
from sli.slis import CATALOGUE, Entry, Formula, Reference, Sli, entries
from sli.slis.custom.imports import load
from sli.slis.custom.python import PYTHON_KEYS, from_python
from sli.slis.custom.sampled import UNSCORED
from sli.slis.custom.signature import source_hash, y_pred
from sli.slis.custom.sql import from_sql, needs_labels
from sli.slis.formula import Objective

INJECTED = ("classes", "scores")
"""Arguments that a catalogue entry gets from the config."""


@dataclass(frozen=True)
class Context:
    """What of the config the meaning of an entry rests on."""

    task: str
    classes: tuple[str, ...]
    scores: Mapping[str, str]
    columns: tuple[str, ...]
    folder: str
    zone: Zone
    tile: int
    storage: Storage = NOTHING
    where: str = ""
    """Of the entry."""

    def reference(self, against: object) -> tuple[Reference, object]:
        """What a window is compared with, and what the definition says of it. Raises ConfigError."""
        return parse_reference(against, self.zone, self.tile, self.folder, self.storage)


def declared(slis: Sequence[Any], context: Context) -> tuple[Sli, ...]:
    """The SLIs in the config's order. Raises ConfigError."""
    made = tuple(each for i, entry in enumerate(slis) for each in _at(entry, i, context))
    names = [each.name for each in made]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two SLIs are called '{name}'", where="slis", todo="give one of them another `name`")
    if not made:
        valid = ", ".join(sorted(entries(context.task)))
        raise ConfigError("no SLI is declared", where="slis", expected=f"one or more of {valid}")
    return made


def _at(entry: Any, position: int, context: Context) -> Iterator[Sli]:
    where = f"slis[{position}]"
    with _placed(where):
        yield from _made({"sli": entry} if isinstance(entry, str) else entry, replace(context, where=where))


def _made(entry: Any, context: Context) -> Iterator[Sli]:
    if not isinstance(entry, Mapping):
        raise ConfigError("an SLI is a name or a mapping", found=repr(entry))
    if "sli" in entry:
        yield from _built_in(dict(entry), context)
    elif "states" in entry:
        yield _from_sql(dict(entry), context)
    elif "python" in entry:
        yield _from_python(dict(entry), context)
    else:
        raise ConfigError(
            "this is no SLI",
            expected="a name, `sli: NAME`, or `name` with `states` and `value` or with `python`",
            found=str(dict(entry)),
        )


def _objective(entry: dict[str, Any]) -> Objective | None:
    text = entry.pop("objective", None)
    try:
        return None if text is None else Objective(str(text))
    except ValueError as error:
        raise ConfigError(str(error), where="objective") from error


def known_entry(kind: str, task: str) -> Entry:
    """The built-in SLI of that name. Raises ConfigError."""
    valid = entries(task)
    if not isinstance(kind, str):
        raise ConfigError("an SLI is called by its name", where="sli", expected="such as accuracy", found=repr(kind))
    if kind not in valid:
        others = [of for of, name in CATALOGUE if name == kind]
        raise ConfigError(
            f"there is no SLI '{kind}' for a {task} task",
            expected=f"one of {', '.join(sorted(valid))}",
            todo=f"it is for a {others[0]} task" if others else nearest(str(kind), valid),
        )
    return valid[kind]


def _built_in(entry: dict[str, Any], context: Context) -> Iterator[Sli]:
    objective = _objective(entry)
    kind = entry.pop("sli")
    name = str(entry.pop("name", kind))
    known = known_entry(kind, context.task)
    _closed(entry, known.parameters, kind)
    needed = [
        p.name
        for p in inspect.signature(known.make).parameters.values()
        if p.default is p.empty and p.name not in entry and p.name not in INJECTED
    ]
    if needed:
        example = ", ".join(f"{each}: ..." for each in needed)
        raise ConfigError(f"'{kind}' needs {', '.join(needed)}", todo=f"write {{sli: {kind}, {example}}}")
    several = {
        key: entry[key] for key in known.parameters if isinstance(entry.get(key), list) and key not in known.listed
    }
    for key, listed in several.items():
        texts = [str(value) for value in listed]
        if not texts or len(set(texts)) < len(texts):
            what = f"{key} lists a value twice" if texts else f"{key} lists no value"
            raise ConfigError(what, where=key, expected="one value, or several that differ", found=str(listed))
    for values in itertools.product(*several.values()):
        one = {**entry, **dict(zip(several, values, strict=True))}
        yield _one(known, "_".join([name, *map(_text, values)]), one, objective, context)


def _text(value: Any) -> str:
    """A parameter's value in a name."""
    return "_".join(map(str, value.values())) if isinstance(value, Mapping) else str(value)


def _one(known: Entry, name: str, given: dict[str, Any], objective: Objective | None, context: Context) -> Sli:
    column = given.get("of", "prediction")
    if column != "prediction" and column not in context.columns:
        raise ConfigError(
            f"'{column}' is no declared column",
            where="of",
            expected=f"one of {', '.join(['prediction', *context.columns])}",
            todo=nearest(str(column), context.columns) or "list it under predictions.columns",
        )
    wanted = inspect.signature(known.make).parameters
    injected = {key: getattr(context, key) for key in INJECTED if key in wanted}
    formula = known.make(**given, **injected)
    rests_on = {key: given.get(key, value) for key, value in injected.items()}
    declaration: dict[str, Any] = {"sli": known.name, "version": known.version, **given, **rests_on}
    return _with_reference(name, formula, declaration, objective, known.better, context)


def _with_reference(
    name: str, formula: Formula, declaration: dict[str, Any], objective: Objective | None, better: Any, context: Context
) -> Sli:
    if formula.against is None:
        return Sli(name, formula, declaration, objective, None, better)
    reference, meaning = context.reference(formula.against)
    return Sli(name, formula, {**declaration, "against": meaning}, objective, reference, better)


def _from_sql(entry: dict[str, Any], context: Context) -> Sli:
    objective = _objective(entry)
    _closed(entry, ("name", "states", "value"), "a custom SLI")
    _needed(entry, "name", "value")
    if not isinstance(entry["states"], Mapping):
        raise ConfigError(
            "states must map names to aggregates",
            where="states",
            expected='{loss: "sum(...)"}',
            found=str(entry["states"]),
        )
    formula = from_sql(entry["states"], str(entry["value"]), context.columns)
    return Sli(str(entry["name"]), formula, {**entry, "labels": needs_labels(formula.states.values())}, objective)


def _from_python(entry: dict[str, Any], context: Context) -> Sli:
    objective = _objective(entry)
    _closed(entry, PYTHON_KEYS, "a custom SLI")
    _needed(entry, "name", "python")
    of = y_pred(entry, Path(context.folder), context.task)
    valid = {"binary": ("decision", "prediction"), "multiclass": ("prediction", "scores")}
    if of not in valid.get(context.task, ("prediction",)):
        expected = " or ".join(valid.get(context.task, ("prediction",)))
        raise ConfigError("`of` says what the function gets as y_pred", where="of", expected=expected, found=str(of))
    sliced = entry.get("columns")
    for column in [*([entry["weight"]] if entry.get("weight") else []), *(sliced if isinstance(sliced, list) else [])]:
        if column not in context.columns:
            raise ConfigError(
                f"'{column}' is no declared column",
                where="weight" if column == entry.get("weight") else "columns",
                expected=f"one of {', '.join(context.columns)}" if context.columns else "none is declared",
                todo=nearest(str(column), context.columns) or "list it under predictions.columns",
            )
    folder, name, declaration = Path(context.folder), str(entry["name"]), dict(entry)

    def made() -> Formula:
        return from_python(entry, folder, y_pred(entry, folder, context.task), context.classes, context.scores)

    formula = cast(Formula, _Deferred(context.where, made))
    reference = None
    if (against := entry.get("against")) is not None:
        reference, declaration["against"] = context.reference(against)
    return FromPython(name, formula, declaration, objective, reference, context=context)


@dataclass(frozen=True)
class FromPython(Sli):
    """An SLI of the user's function: who reads results needs neither the function nor its file."""

    context: Context = field(kw_only=True)

    @functools.cached_property
    def meaning(self) -> Mapping[str, Any]:
        folder = Path(self.context.folder)
        with _placed(self.context.where):
            of = y_pred(self.declaration, folder, self.context.task)
            meaning = {**self.declaration, "of": of, "source": source_hash(self.declaration, folder)}
        if UNSCORED in self.formula.states:
            meaning["scores"] = dict(self.context.scores)
        return meaning

    def load(self) -> None:
        """Import the function. Raises ConfigError."""
        with _placed(self.context.where):
            load(str(self.declaration["python"]), Path(self.context.folder))


class _Deferred:
    """A formula that is made where somebody first asks for a part of it. Raises ConfigError there."""

    def __init__(self, where: str, make: Callable[[], Formula]) -> None:
        self.where, self.make = where, make

    @functools.cached_property
    def made(self) -> Formula:
        with _placed(self.where):
            return self.make()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.made, name)


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """Tell of an error in the config where it is."""
    try:
        yield
    except ConfigError as error:
        error.where = f"{where}: {error.where}" if error.where else where
        raise


def _needed(entry: Mapping[str, Any], *keys: str) -> None:
    if missing := [key for key in keys if key not in entry]:
        raise ConfigError(f"a custom SLI needs {', '.join(missing)}")


def _closed(entry: Mapping[str, Any], valid: Sequence[str], what: str) -> None:
    for key in entry:
        if key not in valid:
            expected = f"one of {', '.join(valid)}" if valid else "no parameter"
            raise ConfigError(
                f"{what} has no key '{key}'", where=str(key), expected=expected, todo=nearest(str(key), valid)
            )
