"""SLIs in SQL: mergeable aggregates over the pairs, and an expression over the merged aggregates.

Limit: an aggregate is one sum, count, min or max. A metric that does not merge needs a Python function.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from sli.engine.expression import check_expression, locked_database, run_within, shortened
from sli.errors import ConfigError
from sli.slis.formula import NO_LABELS, NO_REFERENCE, PAIR_COLUMNS, Formula, Values, because, count, plain, total
from sli.slis.kinds.extremes import MaxState, MinState
from sli.slis.states import Floats, Merged, Objects, State

MERGEABLE = {"sum", "count", "min", "max"}
OF_LABELS = re.compile(r"\b(label|labelled|usable|delay|known_at)\b|\bcolumns\s*\(", re.IGNORECASE)
"""The columns of a pair that come from feedback, and `columns(...)`, which may name any column."""
LITERAL = re.compile(r"'(?:[^']|'')*'")
NULL = "the value is null"
INFINITE = "the value is infinite"
COUNTS = ("predictions", "labelled")
"""The names that `value` may use in addition to the states."""
VALUE_SECONDS = 60.0
"""How long all values of a batch of windows may take."""
ENDLESS = f"`value` takes longer than {VALUE_SECONDS:g} s"


def aggregate(text: str, columns: Collection[str]) -> State:
    """The state of one SQL aggregate over these columns, for example `sum(fare * tip)`. Raises ConfigError."""
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, flags=re.DOTALL)
    name, inner = (match[1].lower(), match[2].strip()) if match else ("", "")
    if name not in MERGEABLE or not _is_whole(inner):
        raise ConfigError(
            "a state must be one mergeable aggregate",
            expected="sum(...), count(...), min(...) or max(...) over a pair's columns",
            found=shortened(text),
            todo="keep a mean as its sum and count, and divide them in `value`",
        )
    if name == "count" and inner in ("", "*"):
        return count("true")
    try:
        check_expression(inner, columns, missing="list {} under predictions.columns")
    except ConfigError as error:
        error.found = shortened(text)
        raise
    if name == "count":
        return count(f"({inner}) IS NOT NULL")
    if name == "sum":
        return total(f"({inner})::DOUBLE", f"({inner}) IS NOT NULL")
    return (MinState if name == "min" else MaxState)(of=f"({inner})::DOUBLE")


def _is_whole(text: str) -> bool:
    """Whether the text closes only brackets that it opens: not `a) + sum(b`, the inner part of `sum(a) + sum(b)`."""
    depth = itertools.accumulate((c == "(") - (c == ")") for c in LITERAL.sub("", text))
    return min(depth, default=0) >= 0


def needs_labels(states: Iterable[State]) -> bool:
    """Whether any of the states depends on feedback. Without labels such a state is 0, which means nothing.

    The number `labelled` of a window does not count, since it is always known.
    """
    texts = (text for state in states for text in (state.of, state.where, state.mark, state.amount))
    return any(OF_LABELS.search(LITERAL.sub("", text)) for text in texts)


def from_sql(states: Mapping[str, str], value: str, columns: Collection[str] = ()) -> Formula:
    """A mergeable SLI from named aggregates, and from an expression over them, `predictions` and `labelled`.

    An aggregate may name the columns of every pair and the given ones. Raises ConfigError.
    """
    merged = {}
    for name, text in states.items():
        try:
            merged[name] = aggregate(str(text), (*PAIR_COLUMNS, *columns))
        except ConfigError as error:
            error.where = f"states.{name}"
            raise
    known = [*merged, *COUNTS]
    for name in COUNTS:
        if name in merged:
            raise ConfigError(
                f"a state cannot be called '{name}', a count that every window has",
                where=f"states.{name}",
                todo="give the state another name",
            )
    try:
        check_expression(value, known, numbers=True)
    except ConfigError as error:
        error.where = "value"
        raise
    needs = needs_labels(merged.values())
    return Formula(merged, functools.partial(_value, value, needs))


def _value(value: str, needs: bool, s: Merged) -> Values:
    import duckdb
    import pandas as pd

    columns = {"predictions": s.predictions, "labelled": s.labelled, **s.states}
    frame = pd.DataFrame({name: np.asarray(values, dtype=np.float64) for name, values in columns.items()})
    frame["sli:position"] = np.arange(len(frame))
    con = locked_database().cursor()
    con.register("frame", frame)
    # Without TRY one window with an error would leave all windows without a value.
    query = f'SELECT TRY(({value})::DOUBLE) AS value FROM frame ORDER BY "sli:position"'
    try:
        column = run_within(con, VALUE_SECONDS, lambda: con.execute(query).fetchnumpy()["value"])
        con.close()
    except TimeoutError:
        # The query may still be running, so the connection cannot be closed, and others take a new database.
        locked_database.cache_clear()
        return _without_value(len(frame), ENDLESS)
    except duckdb.Error as error:
        # For example out of memory: one SLI must not end the run.
        return _without_value(len(frame), str(error).splitlines()[0][:200])
    numbers = np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)
    return plain(numbers, undefined(numbers, s, needs))


def _without_value(rows: int, reason: str) -> Values:
    return plain(np.full(rows, np.nan), np.full(rows, reason, dtype=object))


def undefined(numbers: Floats, s: Merged, needs: bool) -> Objects:
    """Why a number is not a value; None for a number that is one.

    If the SLI `needs` labels, a number without labels is not a value, even if it is finite.
    """
    not_finite = ~np.isfinite(numbers)
    no_reference = np.zeros(len(numbers), dtype=bool)
    if s.reference is not None:
        no_reference = (not_finite & (s.reference.predictions == 0)) | (needs & (s.reference.labelled == 0))
    return because(
        ((not_finite | needs) & (s.labelled == 0), NO_LABELS),
        (no_reference, NO_REFERENCE),
        (np.isinf(numbers), INFINITE),
        (not_finite, NULL),
    )
