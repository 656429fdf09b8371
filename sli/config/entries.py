"""Entries of `slis` to SLIs: a name, a mapping with parameters, SQL states or a Python function.

A parameter given a list makes an SLI for each of its values, named after them. Limit: what depends on the logs' own
columns (SQL, types) is checked when the logs are discovered.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from inspect import Parameter
from pathlib import Path
from typing import cast

from sli.calendar.zone import Zone
from sli.config.references import parse_reference
from sli.engine.storage import NO_OPTIONS, Storage
from sli.errors import ConfigError, check_known, nearest
from sli.slis import CATALOGUE, Entry, Formula, Reference, Sli, entries
from sli.slis.custom.imports import load
from sli.slis.custom.python import PYTHON_KEYS, from_python
from sli.slis.custom.sampled import UNSCORED
from sli.slis.custom.signature import source_hash, y_pred
from sli.slis.custom.sql import from_sql, needs_labels
from sli.slis.formula import INJECTED, Objective

Y_PRED = {"binary": ("decision", "prediction"), "multiclass": ("prediction", "scores")}
"""The values that `of` may have by task; for other tasks only prediction."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The part of the config that the meaning of an entry depends on."""

    task: str
    classes: tuple[str, ...]
    scores: Mapping[str, str]
    columns: tuple[str, ...]
    folder: str
    zone: Zone
    tile: int
    storage: Storage = NO_OPTIONS
    where: str = ""
    """Place of the entry in the config, for messages."""

    def reference(self, against: object) -> tuple[Reference, object]:
        """The reference to compare a window with, and its entry in the definition. Raises ConfigError."""
        return parse_reference(against, self.zone, self.tile, self.folder, self.storage)

    def check_column(self, column: object, where: str, others: Sequence[str] = ()) -> None:
        """Raise ConfigError unless the column is declared or one of the `others`."""
        check_known(
            f"'{column}' is not a declared column",
            column,
            [*others, *self.columns],
            where=where,
            nothing="a column of `predictions.columns`, which has none",
            todo="list it under predictions.columns",
        )


def parse_slis(slis: Sequence[object], context: Context) -> tuple[Sli, ...]:
    """The SLIs in the config's order. Raises ConfigError."""
    parsed = tuple(sli for position, entry in enumerate(slis) for sli in _parse_at(position, entry, context))
    names = [sli.name for sli in parsed]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two SLIs are called '{name}'", where="slis", todo="give one of them another `name`")
    if not parsed:
        valid = ", ".join(sorted(entries(context.task)))
        raise ConfigError("`slis` lists no SLI", where="slis", expected=f"one or more of {valid}")
    return parsed


def _parse_at(position: int, entry: object, context: Context) -> Iterator[Sli]:
    where = f"slis[{position}]"
    with _named_in_errors(where):
        yield from _parse({"sli": entry} if isinstance(entry, str) else entry, replace(context, where=where))


def _parse(entry: object, context: Context) -> Iterator[Sli]:
    if not isinstance(entry, Mapping):
        raise ConfigError("an SLI must be a name or a mapping", found=repr(entry))
    if "sli" in entry:
        yield from _built_in_slis(dict(entry), context)
    elif "states" in entry:
        yield _sql_sli(dict(entry), context)
    elif "python" in entry:
        yield _python_sli(dict(entry), context)
    else:
        raise ConfigError(
            "this is not an SLI",
            expected="a name, `sli: NAME`, or `name` with `states` and `value` or with `python`",
            found=str(dict(entry)),
        )


def _pop_objective(entry: dict[str, object]) -> Objective | None:
    text = entry.pop("objective", None)
    try:
        return None if text is None else Objective(str(text))
    except ValueError as error:
        raise ConfigError(str(error), where="objective") from error


def built_in(name: object, task: str) -> Entry:
    """The built-in SLI of that name. Raises ConfigError."""
    valid = entries(task)
    if not isinstance(name, str):
        raise ConfigError(
            "`sli` must be the name of a built-in SLI", where="sli", expected="for example accuracy", found=repr(name)
        )
    if name not in valid:
        others = [other_task for other_task, other_name in CATALOGUE if other_name == name]
        raise ConfigError(
            f"there is no SLI '{name}' for a {task} task",
            expected=f"one of {', '.join(sorted(valid))}",
            todo=f"it is for a {others[0]} task" if others else nearest(name, valid),
        )
    return valid[name]


def _built_in_slis(entry: dict[str, object], context: Context) -> Iterator[Sli]:
    """One SLI, or one for each combination of the values of parameters given as lists."""
    objective = _pop_objective(entry)
    kind = entry.pop("sli")
    known = built_in(kind, context.task)
    name = str(entry.pop("name", kind))
    _check_keys(entry, known.parameters, known.name)
    required = [key for key in known.parameters if known.arguments[key].default is Parameter.empty and key not in entry]
    if required:
        example = ", ".join(f"{parameter}: ..." for parameter in required)
        raise ConfigError(f"'{kind}' needs {', '.join(required)}", todo=f"write {{sli: {kind}, {example}}}")
    listed = {
        key: values
        for key in known.parameters
        if isinstance(values := entry.get(key), list) and key not in known.listed
    }
    for key, values in listed.items():
        texts = [str(value) for value in values]
        if not texts or len(set(texts)) < len(texts):
            what = f"{key} lists a value twice" if texts else f"{key} lists no value"
            raise ConfigError(what, where=key, expected="one value, or several that differ", found=str(values))
    for combination in itertools.product(*listed.values()):
        parameters = {**entry, **dict(zip(listed, combination, strict=True))}
        yield _built_in_sli(known, "_".join([name, *map(_in_name, combination)]), parameters, objective, context)


def _in_name(value: object) -> str:
    """A parameter's value as part of an SLI's name."""
    return "_".join(map(str, value.values())) if isinstance(value, Mapping) else str(value)


def _built_in_sli(
    known: Entry, name: str, parameters: Mapping[str, object], objective: Objective | None, context: Context
) -> Sli:
    context.check_column(parameters.get("of", "prediction"), "of", others=["prediction"])
    injected = {key: getattr(context, key) for key in INJECTED if key in known.arguments}
    formula = known.make(**parameters, **injected)
    injected = {key: parameters.get(key, value) for key, value in injected.items()}
    declaration = {"sli": known.name, "version": known.version, **parameters, **injected}
    return _with_reference(name, formula, declaration, objective, known, context)


def _with_reference(
    name: str,
    formula: Formula,
    declaration: Mapping[str, object],
    objective: Objective | None,
    known: Entry,
    context: Context,
) -> Sli:
    sli = Sli(name, formula, declaration, objective=objective, better=known.better, unit=known.unit)
    if formula.against is None:
        return sli
    reference, meaning = context.reference(formula.against)
    return replace(sli, declaration={**declaration, "against": meaning}, reference=reference)


def _sql_sli(entry: dict[str, object], context: Context) -> Sli:
    objective = _pop_objective(entry)
    _check_keys(entry, ("name", "states", "value"), "a custom SLI")
    _check_required(entry, "name", "value")
    states = entry["states"]
    if not isinstance(states, Mapping):
        raise ConfigError(
            "`states` must map names to aggregates",
            where="states",
            expected='{loss: "sum(...)"}',
            found=str(states),
        )
    formula = from_sql(states, str(entry["value"]), context.columns)
    declaration = {**entry, "labels": needs_labels(formula.states.values())}
    return Sli(str(entry["name"]), formula, declaration, objective=objective)


def _python_sli(entry: dict[str, object], context: Context) -> PythonSli:
    objective = _pop_objective(entry)
    _check_keys(entry, PYTHON_KEYS, "a custom SLI")
    _check_required(entry, "name", "python")
    folder = Path(context.folder)
    of, valid = y_pred(entry, folder, context.task), Y_PRED.get(context.task, ("prediction",))
    if of not in valid:
        raise ConfigError(
            "`of` must say what the function gets as y_pred", where="of", expected=" or ".join(valid), found=of
        )
    if weight := entry.get("weight"):
        context.check_column(weight, "weight")
    columns = entry.get("columns")
    for column in columns if isinstance(columns, list) else []:
        context.check_column(column, "columns")
    declaration = dict(entry)

    def make() -> Formula:
        return from_python(entry, folder, y_pred(entry, folder, context.task), context.classes, context.scores)

    # It has every attribute of a formula, and builds the formula at the first use of one.
    formula = cast(Formula, _LazyFormula(context.where, make))
    reference = None
    if (against := entry.get("against")) is not None:
        reference, declaration["against"] = context.reference(against)
    return PythonSli(
        str(entry["name"]), formula, declaration, objective=objective, reference=reference, context=context
    )


@dataclass(frozen=True)
class PythonSli(Sli):
    """An SLI of a user's function. Its results can be read without the function and its file."""

    context: Context = field(kw_only=True)

    @functools.cached_property
    def meaning(self) -> Mapping[str, object]:
        folder = Path(self.context.folder)
        with _named_in_errors(self.context.where):
            of = y_pred(self.declaration, folder, self.context.task)
            meaning = {**self.declaration, "of": of, "source": source_hash(self.declaration, folder)}
        if UNSCORED in self.formula.states:
            meaning["scores"] = dict(self.context.scores)
        return meaning

    def load(self) -> None:
        """Import the function. Raises ConfigError."""
        with _named_in_errors(self.context.where):
            load(str(self.declaration["python"]), Path(self.context.folder))


class _LazyFormula:
    """A formula that is built at the first use of one of its attributes, which may raise ConfigError."""

    def __init__(self, where: str, make: Callable[[], Formula]) -> None:
        self.where, self.make = where, make

    @functools.cached_property
    def formula(self) -> Formula:
        with _named_in_errors(self.where):
            return self.make()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.formula, name)


@contextmanager
def _named_in_errors(where: str) -> Iterator[None]:
    """Add the place in the config to an error."""
    try:
        yield
    except ConfigError as error:
        error.where = f"{where}: {error.where}" if error.where else where
        raise


def _check_required(entry: Mapping[str, object], *keys: str) -> None:
    if missing := [key for key in keys if key not in entry]:
        raise ConfigError(f"a custom SLI needs {' and '.join(f'`{key}`' for key in missing)}")


def _check_keys(entry: Mapping[str, object], valid: Sequence[str], owner: str) -> None:
    for key in entry:
        check_known(f"{owner} has no key '{key}'", key, valid, where=str(key), nothing="no parameter")
