"""SLIs the user writes: mergeable ones as SQL aggregates in the config, any others as a Python function of two arrays.

Limit: a Python function does not merge. It is called on all pairs of an hour or a day; for longer windows on a uniform
sample of SAMPLE_ROWS pairs keyed by output_id, with a bootstrap interval (Efron 1979) once the sample is not the whole.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sli.errors import ConfigError, nearest
from sli.slices import quoted
from sli.slis.base import NO_LABELS, Formula, Values, count, plain, total
from sli.slis.states import SAMPLE_ROWS, Merged, Samples, State

Function = Callable[[Any, Any], float]
BOOTSTRAPS = 200
MERGEABLE = {"sum", "count", "min", "max"}


def aggregate(text: str) -> State:
    """The state of one SQL aggregate such as `sum(fare * tip)`. Raises ConfigError."""
    found = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, flags=re.DOTALL)
    name, inner = (found[1].lower(), found[2].strip()) if found else ("", "")
    if name not in MERGEABLE or not _balanced(inner):
        raise ConfigError(
            "a state must be one mergeable aggregate",
            expected="sum(...), count(...), min(...) or max(...) over a pair's columns",
            found=text,
            todo="keep a mean as its sum and count, and divide them in `value`",
        )
    if name == "count":
        return count("true" if inner in ("", "*") else f"({inner}) IS NOT NULL")
    if name == "sum":
        return total(f"({inner})::DOUBLE", f"({inner}) IS NOT NULL")
    return State("min" if name == "min" else "max", of=f"({inner})::DOUBLE")


def _balanced(text: str) -> bool:
    depth = 0
    for character in re.sub(r"'(?:[^']|'')*'", "", text):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def from_sql(states: Mapping[str, str], value: str) -> Formula:
    """A mergeable SLI: named aggregates, and an SQL expression over them, `predictions` and `labelled`."""
    import duckdb

    merged = {name: aggregate(text) for name, text in states.items()}
    known = [*merged, "predictions", "labelled"]
    for name in ("predictions", "labelled"):
        if name in merged:
            raise ConfigError(f"'{name}' is there already", where=f"states.{name}", todo="give the state another name")
    columns = ", ".join(f"1::DOUBLE AS {quoted(name)}" for name in known)
    try:
        duckdb.connect().execute(f"SELECT ({value})::DOUBLE FROM (SELECT {columns})")
    except duckdb.Error as error:
        wrong = re.search(r'column "([^"]+)"', str(error))
        raise ConfigError(
            "the value is no SQL expression over the SLI's states",
            expected=f"an expression over {', '.join(known)}",
            found=value,
            todo=nearest(wrong[1], known) if wrong else str(error).splitlines()[0],
        ) from error
    return Formula(merged, functools.partial(_sql_value, value), functools.partial(_sql_on_rows, dict(states), value))


def _sql_value(value: str, s: Merged) -> Values:
    import duckdb

    columns = {"predictions": s.predictions, "labelled": s.labelled, **s.states}
    frame = pd.DataFrame({name: np.asarray(values, dtype=np.float64) for name, values in columns.items()})
    frame["sli:position"] = np.arange(len(frame))
    found = (
        duckdb.connect()
        .execute(f'SELECT ({value})::DOUBLE AS value FROM frame ORDER BY "sli:position"')
        .fetchnumpy()["value"]
    )
    numbers = np.ma.filled(np.ma.asarray(found, dtype=np.float64), np.nan)
    reason = np.full(len(numbers), None, dtype=object)
    reason[np.isnan(numbers)] = "the value is null"
    reason[np.isinf(numbers)] = "the value is infinite"
    reason[(s.labelled == 0) & ~np.isfinite(numbers)] = NO_LABELS
    return plain(numbers, reason)


def _sql_on_rows(states: Mapping[str, str], value: str, pairs: pd.DataFrame) -> float:
    import duckdb

    named = ", ".join(f"({text})::DOUBLE AS {quoted(name)}" for name, text in states.items())
    named += ", count(*) AS predictions, count(*) FILTER (labelled) AS labelled"
    found = duckdb.from_df(pairs).aggregate(named).project(f"({value})::DOUBLE").fetchall()[0][0]
    return float("nan") if found is None or not np.isfinite(found) else float(found)


def load(call: str, folder: Path | None) -> Function:
    """The function `module:name`, its module looked for beside the config too. Raises ConfigError."""
    module_name, _, name = call.partition(":")
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(
            f"the module of '{call}' cannot be imported",
            expected="module:function",
            found=f"{type(error).__name__}: {error}",
        ) from error
    found: Any = module if name else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        names = [each for each in dir(module) if callable(getattr(module, each)) and not each.startswith("_")]
        raise ConfigError(
            f"'{call}' names no function", expected="module:function", found=name, todo=nearest(name, names)
        )
    function: Function = found
    return function


def source(function: Function) -> str:
    """What the definition of a function rests on: its source, or the version of the package it comes from."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        package = importlib.import_module(function.__module__.split(".")[0])
        return f"{function.__module__}:{getattr(function, '__name__', '')}@{getattr(package, '__version__', '')}"


def pickled(call: str, folder: str) -> bytes:
    """The function by value, so that workers need not have its module."""
    import cloudpickle

    function = load(call, Path(folder))
    module = sys.modules.get(function.__module__)
    if module is None or "site-packages" in str(getattr(module, "__file__", None) or "site-packages"):
        return bytes(cloudpickle.dumps(function))
    cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(function))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def called(function: Function, truth: Any, prediction: Any) -> tuple[float, str | None]:
    """The function's value, or NaN and the reason."""
    try:
        value = float(function(truth, prediction))
    except Exception as error:
        return float("nan"), f"{type(error).__name__}: {error}"[:200]
    return (value, None) if np.isfinite(value) else (float("nan"), f"the function returned {value}")


def from_python(call: str, function: Function, of: str) -> Formula:
    """An SLI `function(y_true, y_pred)`; `of` says which column y_pred is: decision or prediction."""
    fingerprint = hashlib.sha256(source(function).encode()).hexdigest()
    states = {
        "sample": State("sample", of=of, where="usable", source=fingerprint),
        "window": State("window", of=of, where="usable", call=call, source=fingerprint),
        "usable": count("usable"),
    }

    def on_rows(pairs: pd.DataFrame) -> float:
        kept = pairs[pairs.usable]
        if kept.empty:
            return float("nan")
        return called(function, kept.label.to_numpy(dtype=float), kept[of].to_numpy(dtype=float))[0]

    return Formula(states, functools.partial(_python_value, function), on_rows)


def _python_value(function: Function, s: Merged) -> Values:
    rows = len(s.predictions)
    value, low, high, bound = (np.full(rows, np.nan) for _ in range(4))
    reason = np.full(rows, None, dtype=object)
    samples: Samples = s["sample"]
    exact_value, exact_reason = s["window"]
    for i in range(rows):
        if s["usable"][i] == 0:
            reason[i] = NO_LABELS
        elif not np.isnan(exact_value[i]) or exact_reason[i] is not None:
            value[i], reason[i] = exact_value[i], exact_reason[i]
        else:
            truth, prediction = samples.truth[i], samples.prediction[i]
            value[i], reason[i] = called(function, truth, prediction)
            if s["usable"][i] > SAMPLE_ROWS:
                if reason[i] is None:
                    low[i], high[i] = _bootstrap(function, truth, prediction, samples.keys[i])
                continue
        bound[i] = np.nan if np.isnan(value[i]) else 0.0
    return Values(value, reason, low, high, bound)


def _bootstrap(function: Function, truth: Any, prediction: Any, keys: Any) -> tuple[float, float]:
    """2.5 % and 97.5 % of the function over resamples; the draws follow from the sample's own keys."""
    random = np.random.default_rng(np.asarray(keys).view(np.uint32))
    found = []
    for _ in range(BOOTSTRAPS):
        drawn = random.integers(0, len(truth), len(truth))
        found.append(called(function, truth[drawn], prediction[drawn])[0])
    kept = np.array([each for each in found if not np.isnan(each)])
    return (
        (float(np.quantile(kept, 0.025)), float(np.quantile(kept, 0.975)))
        if len(kept)
        else (float("nan"), float("nan"))
    )
