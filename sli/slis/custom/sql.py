"""SLIs in SQL: mergeable aggregates over the pairs, and an expression over the merged ones.

Limit: an aggregate is one sum, count, min or max; what does not merge is a Python function's work.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sli.engine.expression import bounded, check, sealed, shown
from sli.engine.sql import quoted
from sli.errors import ConfigError
from sli.slis.formula import NO_LABELS, NO_REFERENCE, PAIR_COLUMNS, Formula, Values, because, count, plain, total
from sli.slis.states import Floats, Merged, State

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

MERGEABLE = {"sum", "count", "min", "max"}
OF_LABELS = re.compile(r"\b(label|labelled|usable|delay|known_at)\b|\bcolumns\s*\(", re.IGNORECASE)
"""The columns of a pair that feedback fills, and what may stand for any column."""
LITERAL = re.compile(r"'(?:[^']|'')*'")
NULL = "the value is null"
INFINITE = "the value is infinite"
COUNTS = ("predictions", "labelled")
"""What `value` sees beside the states."""
VALUE_SECONDS = 60.0
"""How long all values of a batch of windows may take."""
ENDLESS = f"`value` takes longer than {VALUE_SECONDS:g} s"


def aggregate(text: str, columns: Collection[str]) -> State:
    """The state of one SQL aggregate such as `sum(fare * tip)` over these columns. Raises ConfigError."""
    found = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, flags=re.DOTALL)
    name, inner = (found[1].lower(), found[2].strip()) if found else ("", "")
    if name not in MERGEABLE or not _is_whole(inner):
        raise ConfigError(
            "a state must be one mergeable aggregate",
            expected="sum(...), count(...), min(...) or max(...) over a pair's columns",
            found=shown(text),
            todo="keep a mean as its sum and count, and divide them in `value`",
        )
    if name == "count" and inner in ("", "*"):
        return count("true")
    try:
        check(inner, columns, missing="list {} under predictions.columns")
    except ConfigError as error:
        error.found = shown(text)
        raise
    if name == "count":
        return count(f"({inner}) IS NOT NULL")
    if name == "sum":
        return total(f"({inner})::DOUBLE", f"({inner}) IS NOT NULL")
    return State("min" if name == "min" else "max", of=f"({inner})::DOUBLE")


def _is_whole(text: str) -> bool:
    """Whether no bracket closes what begins before the text, as between the aggregates of `sum(a) + sum(b)`."""
    depth = itertools.accumulate((c == "(") - (c == ")") for c in LITERAL.sub("", text))
    return min(depth, default=0) >= 0


def needs_labels(states: Iterable[State]) -> bool:
    """Whether states look at feedback: where nothing is labelled they hold 0 for what is not known.

    `labelled` as the number of a window is not meant, for it is known.
    """
    texts = (text for state in states for text in (state.of, state.where, state.mark, state.amount))
    return any(OF_LABELS.search(LITERAL.sub("", text)) for text in texts)


def from_sql(states: Mapping[str, str], value: str, columns: Collection[str] = ()) -> Formula:
    """A mergeable SLI: named aggregates over a pair's own columns and these, and an SQL expression over them.

    Raises ConfigError.
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
            raise ConfigError(f"'{name}' is there already", where=f"states.{name}", todo="give the state another name")
    try:
        check(value, known, numbers=True)
    except ConfigError as error:
        error.where = "value"
        raise
    needs = needs_labels(merged.values())
    on_rows = functools.partial(_on_rows, dict(states), value, needs)
    return Formula(merged, functools.partial(_value, value, needs), on_rows)


def _value(value: str, needs: bool, s: Merged) -> Values:
    import duckdb
    import pandas as pd

    columns = {"predictions": s.predictions, "labelled": s.labelled, **s.states}
    frame = pd.DataFrame({name: np.asarray(values, dtype=np.float64) for name, values in columns.items()})
    frame["sli:position"] = np.arange(len(frame))
    con = sealed(duckdb.connect())
    con.register("frame", frame)
    # Without TRY a window whose numbers it fails on would cost the others theirs.
    query = f'SELECT TRY(({value})::DOUBLE) AS value FROM frame ORDER BY "sli:position"'
    try:
        found = bounded(con, VALUE_SECONDS, lambda: con.execute(query).fetchnumpy()["value"])
        con.close()
    except TimeoutError:
        # What may still be at work cannot be closed.
        return _nothing(len(frame), ENDLESS)
    except duckdb.Error as error:
        # Out of memory, say: one SLI must not end the run.
        return _nothing(len(frame), str(error).splitlines()[0][:200])
    numbers = np.ma.filled(np.ma.asarray(found, dtype=np.float64), np.nan)
    return plain(numbers, undefined(numbers, s, needs))


def _nothing(rows: int, why: str) -> Values:
    return plain(np.full(rows, np.nan), np.full(rows, why, dtype=object))


def undefined(numbers: Floats, s: Merged, needs: bool) -> Any:
    """Why a number that the user's own arithmetic gave is none; None where it is one.

    What needs labels is none without them, whatever it is.
    """
    none = ~np.isfinite(numbers)
    lone = np.zeros(len(numbers), dtype=bool)
    if s.reference is not None:
        lone = (none & (s.reference.predictions == 0)) | (needs & (s.reference.labelled == 0))
    return because(
        ((none | needs) & (s.labelled == 0), NO_LABELS),
        (lone, NO_REFERENCE),
        (np.isinf(numbers), INFINITE),
        (none, NULL),
    )


def over(pairs: pd.DataFrame) -> duckdb.DuckDBPyConnection:
    """DuckDB with the rows as `pairs` and nothing else, its clock set as the kernel's is."""
    import duckdb

    con = duckdb.connect()
    con.execute("SET TimeZone='UTC'")
    con.register("pairs", pairs)
    return sealed(con)


def _on_rows(states: Mapping[str, str], value: str, needs: bool, pairs: pd.DataFrame) -> float:
    if needs and not pairs.labelled.any():
        return float("nan")
    named = ", ".join(f"({text})::DOUBLE AS {quoted(name)}" for name, text in states.items())
    counts = "count(*) AS predictions, count(*) FILTER (labelled) AS labelled"
    inner = f"SELECT {', '.join(each for each in (named, counts) if each)} FROM pairs"
    with over(pairs) as con:
        found = con.execute(f"SELECT TRY(({value})::DOUBLE) FROM ({inner})").fetchall()[0][0]
    return float("nan") if found is None or not np.isfinite(found) else float(found)
