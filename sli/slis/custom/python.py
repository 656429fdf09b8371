"""SLIs that are any Python function of two arrays, the labels and the predictions.

Limit: such a function does not merge. It is called on all pairs of an hour or a day; for longer windows on a uniform
sample of SAMPLE_ROWS pairs keyed by output_id, with a bootstrap interval (Efron 1979) once the sample is not the whole.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import json
import math
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sli.engine.sql import quoted, text_of
from sli.errors import ConfigError, nearest
from sli.slis.catalogue.class_scores import NO_SCORES, scores_of
from sli.slis.custom.loaded import by_value, load, source
from sli.slis.custom.mergeable import (
    Mergeable,
    from_mergeable,
    groups,
    histogram,
    is_mergeable,
    largest,
    smallest,
    total,
)
from sli.slis.custom.sql import needs_labels, over
from sli.slis.custom.written import written
from sli.slis.formula import NO_LABELS, NO_REFERENCE, Formula, Values, count
from sli.slis.states import SAMPLE_ROWS, Merged, Samples, State

if TYPE_CHECKING:
    import pandas as pd

PYTHON_KEYS = ("name", "python", "of", "weight", "columns", "with", "against")
"""What a config entry with `python` may say, beside its objective."""
WEIGHTS = ("sample_weight", "weight")
SCORES = ("y_score", "y_proba")
"""Parameters that get each class's score in a multiclass task, the second one too."""
KEYS = {"sample_weight": "weight", "weight": "weight", "slices": "columns", "reference": "against"}
"""The key that gives a function each parameter it may take by name."""
TAIL = 5
"""Resamples beyond either end of an interval."""
UNSCORED = "sli:unscored"
"""State of a function that gets scores: how many usable pairs lack one."""
DEFINED = 0.9
"""Share of the resamples that must have a value for there to be an interval."""
TURN = threading.Lock()


@dataclass(frozen=True)
class Called:
    """A function with all that its SLI gives it. It travels to workers by value.

    Takes labels and predictions as doubles, with `classes` as places among these, and columns as texts. `scores` are
    the columns of the classes' scores, by the classes' names, for the parameter `scores_as` or in place of the
    predictions.
    """

    function: Callable[..., Any]
    weight: str = ""
    weight_as: str = ""
    slices: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    scores_as: str = ""

    def __call__(self, truth: Any, prediction: Any, columns: Mapping[str, Any], reference: Any = None) -> float:
        given = copy.deepcopy(dict(self.constants))
        if self.weight:
            # A null weight is NaN: unknown, which the function may refuse.
            given[self.weight_as] = np.array(columns[self.weight], dtype=object).astype(np.float64)
        if self.slices:
            given["slices"] = {name: np.array(columns[name], dtype=object) for name in self.slices}
        if self.scores_as:
            given[self.scores_as] = self._scores(columns)
        if reference is not None:
            then, *predicted = reference
            given["reference"] = (self._array(then), self._predicted(*predicted))
        return float(self.function(self._array(truth), self._predicted(prediction, columns), **given))

    def texts(self, column: str) -> bool:
        """Whether a column is needed as texts; otherwise numbers do."""
        return column == self.weight or column in self.slices

    def _predicted(self, prediction: Any, columns: Mapping[str, Any]) -> Any:
        return self._scores(columns) if self.scores and not self.scores_as else self._array(prediction)

    def _scores(self, columns: Mapping[str, Any]) -> Any:
        """One row for each pair, one column for each class."""
        return np.column_stack([np.array(columns[name], dtype=object).astype(np.float64) for name in self.scores])

    def _array(self, of: Any) -> Any:
        """A copy, since a function may change what it gets while several share a sample."""
        if self.classes:
            return np.array(self.classes, dtype=object)[np.asarray(of).astype(np.int64)]
        return np.array(of, dtype=np.float64)


@contextmanager
def hushed() -> Iterator[None]:
    """Show no warnings of a function: one for each window would be noise."""
    # Python's filters of warnings are one for all threads: a thread must not restore them while another hushes.
    with TURN, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def called(
    function: Called, truth: Any, prediction: Any, columns: Mapping[str, Any], reference: Any = None
) -> tuple[float, str | None]:
    """The function's value, or NaN and the reason; to be called when `hushed`."""
    try:
        value = function(truth, prediction, columns, reference)
    except Exception as error:
        return math.nan, f"{type(error).__name__}: {error}"[:200]
    return (value, None) if math.isfinite(value) else (math.nan, f"the function returned {value}")


def pickled(call: str, folder: str) -> bytes:
    """What a window state's `call` describes, by value, so that workers need not have its module."""
    made, beside = json.loads(call), Path(folder)
    function = load(made["python"], beside)
    takes = inspect.signature(function).parameters if made["weight"] else ()
    return by_value(_called(function, made, takes), function, beside)


@dataclass(frozen=True)
class Later:
    """A function that is imported where it is called first."""

    call: str
    folder: Path

    @functools.cached_property
    def function(self) -> Callable[..., Any]:
        found: Callable[..., Any] = load(self.call, self.folder)
        return found

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.function(*given, **named)


@dataclass(frozen=True)
class Known:
    """What a definition and a plan need of a function: its `source`, its parameters, the states of a mergeable one."""

    source: str
    parameters: tuple[inspect.Parameter, ...]
    states: Mapping[str, State] | None = None


MAKERS: dict[str, Callable[..., State]] = {
    "count": count,
    "groups": groups,
    "histogram": histogram,
    "largest": largest,
    "smallest": smallest,
    "total": total,
}
"""What `sli.mergeable` makes states with."""
COMPILED = (inspect.Parameter("arrays", inspect.Parameter.VAR_POSITIONAL),)
"""Parameters of a compiled function, which may not tell its own."""


def _known(call: str, folder: Path) -> Known:
    """Read from the function's file if that tells, else from the function. Raises ConfigError."""
    if told := written(call, folder, MAKERS):
        return Known(told.source, told.parameters, told.states)
    function = load(call, folder)
    if is_mergeable(function):
        return Known(source(function.value), (), function.states)
    try:
        return Known(source(function), tuple(inspect.signature(function).parameters.values()))
    except (TypeError, ValueError):
        return Known(source(function), COMPILED)


def _called(function: Callable[..., Any], made: Mapping[str, Any], takes: Collection[str]) -> Called:
    weight_as = next((name for name in WEIGHTS if name in takes), "")
    scores = made.get("scores", {"columns": (), "as": ""})
    return Called(
        function,
        made["weight"],
        weight_as,
        tuple(made["columns"]),
        made["with"],
        tuple(made["classes"]),
        tuple(scores["columns"]),
        scores["as"],
    )


def source_hash(entry: Mapping[str, Any], folder: Path) -> str:
    """Hash of what an entry's function is, for the SLI's definition."""
    known = _known(str(entry["python"]), folder)
    parts = [known.source]
    if known.states is not None:
        parts.append(f"needs labels: {needs_labels(known.states.values())}")
        parts += sorted(f"{name}={state.id}" for name, state in known.states.items())
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def y_pred(entry: Mapping[str, Any], folder: Path, task: str) -> str:
    """What a function gets beside the labels unless `of` says: decision, prediction or scores. Raises ConfigError."""
    if task == "multiclass":
        second = [p.name for p in _known(str(entry["python"]), folder).parameters[1:2]]
        return "scores" if set(second) & set(SCORES) else "prediction"
    return "decision" if task == "binary" else "prediction"


def from_python(
    entry: Mapping[str, Any],
    folder: Path,
    of: str,
    classes: tuple[str, ...] = (),
    scores: Mapping[str, str] | None = None,
) -> Formula:
    """The SLI of a config entry: `function(y_true, y_pred)`, or a mergeable one. Raises ConfigError.

    `of` says what y_pred is: decision, prediction or scores. `scores` names the column of each class's.
    """
    entry = {key: value for key, value in entry.items() if value is not None}
    function = Later(str(entry["python"]), folder)
    known = _known(function.call, folder)
    if known.states is not None:
        return from_mergeable(Mergeable(known.states, function), entry)
    scores_as = _scores_as(known.parameters, of, classes, entry.get("with"), bool(scores))
    scored = scores_of(str(entry["python"]), classes, scores) if of == "scores" or scores_as else None
    made = _checked(entry, known.parameters, classes, [scores_as] if scores_as else [])
    if scored is not None:
        made["scores"] = {"columns": list(scored.columns), "as": scores_as}
    given = _called(function, made, [each.name for each in known.parameters])
    columns = tuple(sorted({*([given.weight] if given.weight else []), *given.slices, *given.scores}))
    where = "usable" if scored is None else f"usable AND {scored.known}"
    of = "decision" if of == "decision" else "prediction"
    states = {"sample": State("sample", of=of, where=where, columns=columns), "usable": count(where)}
    if scored is not None:
        states[UNSCORED] = count(f"usable AND NOT ({scored.known})")
    if "against" not in entry:
        call, origin = json.dumps(made, sort_keys=True), source_hash(entry, folder)
        states["window"] = State("window", of=of, where=where, call=call, columns=columns, source=origin)
    on_rows = functools.partial(_on_rows, given, of, columns)
    return Formula(states, functools.partial(_value, given), on_rows, entry.get("against"))


def _scores_as(
    parameters: Sequence[inspect.Parameter], of: str, classes: tuple[str, ...], constants: Any, there: bool
) -> str:
    """The parameter beyond the second one that gets the scores: it must have them, or may and they are `there`."""
    if not classes or of == "scores":
        return ""
    own = constants if isinstance(constants, Mapping) else {}
    named = {p.name: p for p in parameters[2:] if p.kind is not p.POSITIONAL_ONLY and p.name not in own}
    return next((name for name in SCORES if name in named and (there or named[name].default is named[name].empty)), "")


def _checked(
    entry: Mapping[str, Any],
    parameters: Sequence[inspect.Parameter],
    classes: tuple[str, ...],
    filled: Sequence[str],
) -> dict[str, Any]:
    """What the function gets, as plain values, once its signature agrees; `filled` are parameters it has got."""
    call = str(entry["python"])
    for key in entry:
        if key not in PYTHON_KEYS:
            raise ConfigError(
                f"a custom SLI has no key '{key}'",
                where=str(key),
                expected=f"one of {', '.join(PYTHON_KEYS)}",
                todo=nearest(str(key), PYTHON_KEYS),
            )
    weight, columns, constants = entry.get("weight", ""), entry.get("columns", []), entry.get("with", {})
    if not isinstance(weight, str):
        raise ConfigError("`weight` names a column", where="weight", expected="a text", found=repr(weight))
    if not isinstance(columns, list | tuple) or not all(isinstance(each, str) for each in columns):
        raise ConfigError("`columns` is a list of columns", where="columns", expected="[a, b]", found=repr(columns))
    if not isinstance(constants, Mapping) or not _plain(dict(constants)):
        raise ConfigError(
            "`with` maps parameters to constants",
            where="with",
            expected="{average: macro}: numbers, texts, true, false, null, lists and mappings of them",
            found=repr(constants),
        )
    given = {key: entry[key] for key in ("weight", "columns", "against") if entry.get(key)}
    _agree(call, parameters, given, constants, filled)
    return {
        "python": call,
        "weight": weight,
        "columns": list(columns),
        "with": dict(constants),
        "classes": list(classes),
    }


def _plain(of: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(of, allow_nan=False)) == of)
    except (TypeError, ValueError):
        return False


def _agree(
    call: str,
    parameters: Sequence[inspect.Parameter],
    given: Mapping[str, Any],
    constants: Mapping[str, Any],
    already: Sequence[str],
) -> None:
    """The function takes what the entry gives and needs nothing else."""
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(by_place) < 2 and all(p.kind is not p.VAR_POSITIONAL for p in parameters):
        raise ConfigError(f"'{call}' does not take two arrays", where="python", expected="function(y_true, y_pred)")
    rest = [p for p in parameters if p not in by_place[:2] and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    named = {p.name: p for p in rest if p.kind is not p.POSITIONAL_ONLY}
    filled = {*constants, *already}
    for key in given:
        names = [name for name, of in KEYS.items() if of == key]
        name = next((each for each in names if each in named), None)
        if name is None:
            raise ConfigError(
                f"the key '{key}' is given, but '{call}' has no parameter {' or '.join(names)}",
                where=key,
                todo=f"drop '{key}', or give the function that parameter",
            )
        if name in constants:
            raise ConfigError(f"'{key}' and 'with' both give '{name}' to '{call}'", where="with")
        filled.add(name)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for name in constants:
            if name not in named:
                raise ConfigError(
                    f"'{call}' has no parameter '{name}'",
                    where="with",
                    expected=f"one of {', '.join(named)}" if named else "none",
                    todo=nearest(str(name), named),
                )
    for p in rest:
        if p.default is p.empty and p.name not in filled:
            key = KEYS.get(p.name, "with")
            example = {"weight": "weight: COLUMN", "columns": "columns: [COLUMN]", "against": "against: previous"}
            raise ConfigError(
                f"'{call}' needs '{p.name}', which the key '{key}' gives",
                where=key,
                found=f"no '{key}'" if key not in (*given, "with") else "",
                todo=f"write {example.get(key, f'with: {{{p.name}: ...}}')}",
            )


def _value(function: Called, s: Merged) -> Values:
    rows = len(s.predictions)
    value, low, high, bound = (np.full(rows, np.nan) for _ in range(4))
    reason = np.full(rows, None, dtype=object)
    # Windows that slide hold the same pairs again and again where slices are small.
    known: dict[Any, Any] = {}
    with hushed():
        for i in range(rows):
            value[i], reason[i], low[i], high[i], bound[i] = _row(function, s, i, known)
    none = np.full(rows, np.nan)
    return Values(value, reason, none, none, bound, none, none).within(low, high)


def _row(function: Called, s: Merged, i: int, known: dict[Any, Any]) -> tuple[float, str | None, float, float, float]:
    """Value, reason, interval and bound of one row; `known` are values and intervals of samples seen before."""
    nan = math.nan
    if s["usable"][i] == 0:
        unscored = UNSCORED in s.states and s[UNSCORED][i] > 0
        return nan, NO_SCORES if unscored else NO_LABELS, nan, nan, nan
    if s.reference is not None and s.reference["usable"][i] == 0:
        return nan, NO_REFERENCE, nan, nan, nan
    value, reason = nan, None
    if "window" in s.states:
        value, reason = s["window"][0][i], s["window"][1][i]
    sampled = math.isnan(value) and reason is None
    sides = [_Side.of(s["sample"], i), *([] if s.reference is None else [_Side.of(s.reference["sample"], i)])]
    content = tuple(each.content for each in sides) if sampled else ()
    if sampled:
        if content not in known:
            known[content] = _on(function, sides)
        value, reason = known[content]
    if reason is not None:
        return nan, reason, nan, nan, nan
    whole = all(each["usable"][i] <= SAMPLE_ROWS for each in (s, s.reference) if each is not None)
    if not sampled or whole:
        return value, None, nan, nan, 0.0
    if (content, s.level) not in known:
        known[content, s.level] = _bootstrap(function, sides, s.level)
    return value, None, *known[content, s.level], nan


@dataclass(frozen=True)
class _Side:
    """The sample of a window, or of its reference."""

    truth: Any
    prediction: Any
    keys: Any
    columns: Mapping[str, Any]

    @staticmethod
    def of(samples: Samples, i: int) -> _Side:
        return _Side(samples.label[i], samples.prediction[i], samples.keys[i], samples.columns[i])

    @property
    def content(self) -> tuple[Any, ...]:
        """What a function's value and its interval follow from."""
        columns = tuple(tuple(texts) for texts in self.columns.values())
        return self.truth.tobytes(), self.prediction.tobytes(), self.keys.tobytes(), columns

    def drawn(self, random: np.random.Generator) -> _Side:
        """As many pairs of it, drawn with replacement."""
        at = random.integers(0, len(self.truth), len(self.truth))
        columns = {name: texts[at] for name, texts in self.columns.items()}
        return _Side(self.truth[at], self.prediction[at], self.keys, columns)


def resamples(level: float) -> int:
    """How many resamples an interval of this level takes: a call of the function each."""
    return max(199, round(2 * TAIL / (1 - level)) - 1)


def _on(function: Called, sides: list[_Side]) -> tuple[float, str | None]:
    reference = (sides[1].truth, sides[1].prediction, sides[1].columns) if len(sides) > 1 else None
    return called(function, sides[0].truth, sides[0].prediction, sides[0].columns, reference)


def _bootstrap(function: Called, sides: list[_Side], level: float) -> tuple[float, float]:
    """Percentile interval: the TAIL-th of the resamples from either end.

    With B resamples the k-th smallest leaves k / (B + 1) below it, which B follows from (Davison and Hinkley 1997,
    section 5.3). The draws follow from the samples' own keys, so that every run draws the same.
    """
    random = np.random.default_rng(np.concatenate([np.asarray(each.keys) for each in sides]).view(np.uint32))
    drawn = resamples(level)
    found = [_on(function, [each.drawn(random) for each in sides])[0] for _ in range(drawn)]
    kept = np.array([each for each in found if not math.isnan(each)])
    if len(kept) < DEFINED * drawn:
        return math.nan, math.nan
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2], method="weibull")
    return float(low), float(high)


def _on_rows(
    function: Called,
    of: str,
    columns: tuple[str, ...],
    pairs: pd.DataFrame,
    reference: pd.DataFrame | None = None,
) -> float:
    sides = [_kept(function, each) for each in (pairs, reference) if each is not None]
    if any(each.empty for each in sides):
        return math.nan
    arrays = [(*_arrays(each, of, function.classes), _texts(each, columns)) for each in sides]
    with hushed():
        return called(function, *arrays[0], arrays[1] if len(arrays) > 1 else None)[0]


def _kept(function: Called, pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs a function gets: usable ones, with all scores if it gets these."""
    import pandas as pd

    kept = pairs[pairs.usable.astype(bool)]
    scores = kept[list(function.scores)].astype(float).to_numpy()
    return kept[pd.Series(((scores >= 0) & (scores <= 1)).all(axis=1), index=kept.index)]


def _texts(kept: pd.DataFrame, columns: tuple[str, ...]) -> dict[str, Any]:
    """Columns as text, as the states give them."""
    if not columns:
        return {}
    with over(kept[list(columns)]) as con:
        found = con.execute(f"SELECT {', '.join(text_of(quoted(name)) for name in columns)} FROM pairs").fetchall()
    rows = zip(*found, strict=True)
    return {name: np.array(values, dtype=object) for name, values in zip(columns, rows, strict=True)}


def _arrays(kept: pd.DataFrame, of: str, classes: tuple[str, ...]) -> tuple[Any, Any]:
    """Label and y_pred of plain rows, as the states give them."""
    if not classes:
        return kept.label.to_numpy(dtype=float), kept[of].to_numpy(dtype=float)
    places = {name: i for i, name in enumerate(classes)}
    return tuple(kept[name].map(places).to_numpy(dtype=float) for name in ("label", of))  # type: ignore[return-value]
