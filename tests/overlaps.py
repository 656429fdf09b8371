"""Two values of an SLI that share pairs, drawn many times from a population whose values are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from sli.slis import entries
from sli.slis.formula import Values
from sli.slis.kinds.terms import Reader
from sli.slis.maths.differences import of_sharing
from sli.slis.terms import Terms, drawn_at_random, states_of_pairs, terms_sql

LEVEL = 0.95
PAIRS = 2000
SHARE = 0.3
"""The part of the whole that lies in the slice."""
SLIS: dict[str, Callable[[], tuple[str, Any]]] = {
    "accuracy": lambda: ("binary", entries("binary")["accuracy"].make()),
    "recall": lambda: ("binary", entries("binary")["recall"].make()),
    "roc_auc": lambda: ("binary", entries("binary")["roc_auc"].make()),
    "log_loss": lambda: ("binary", entries("binary")["log_loss"].make()),
    "quantile 0.9": lambda: ("regression", entries("regression")["quantile"].make(q=0.9)),
    "mae": lambda: ("regression", entries("regression")["mae"].make()),
}


class Population(NamedTuple):
    """What each of PAIRS pairs adds to an SLI, and which of them lie in a slice: at random, or by their difficulty."""

    formula: Any
    terms: Terms
    at_random: np.ndarray
    unlike: np.ndarray

    @staticmethod
    def of(name: str) -> Population:
        task, formula = SLIS[name]()
        random = np.random.default_rng(1)
        labels = random.random(PAIRS) < 0.4
        skill = random.gamma(4.0, 0.25, PAIRS)
        scores = 1 / (1 + np.exp(-(skill * (2 * labels - 1) + random.normal(0, 1.2, PAIRS))))
        known = np.ones(PAIRS, bool)
        if task == "regression":
            fares = random.lognormal(2, 0.6, PAIRS)
            pairs = {"label": fares, "prediction": fares * random.lognormal(0, 0.3, PAIRS)}
            hard = fares
        else:
            pairs = {"label": labels, "prediction": scores, "decision": scores >= 0.5}
            hard = labels - skill
        frame = pa.table({"id": np.arange(PAIRS), **pairs, "labelled": known, "usable": known})
        states = states_of_pairs(formula)
        columns = ", ".join(
            f'{sql} AS "side:{term}"' for term, sql in {"labelled": "labelled", **terms_sql(states.values())}.items()
        )
        with duckdb.connect(config={"threads": 1}) as con:
            con.register("frame", frame)
            table = con.sql(f"SELECT {columns} FROM frame ORDER BY id").to_arrow_table()
        slice = random.random(PAIRS) < SHARE
        unlike = random.random(PAIRS) < SHARE * 2 / (1 + np.exp(-2 * (hard - hard.mean()) / hard.std()))
        return Population(formula, Terms.of(Reader(table, "side:", {}, False), states, 0, LEVEL), slice, unlike)

    def values(self, counts: np.ndarray) -> Values:
        values: Values = self.formula.value(self.terms.merged(drawn_at_random([*counts])))
        return values


def coverage(population: Population, how: str, n: int, draws: int) -> dict[str, float]:
    """How often the interval holds the true difference, its mean width, and how often there was no interval."""
    random = np.random.default_rng(n)

    def drawn(number: int) -> np.ndarray:
        return random.multinomial(number, np.full(PAIRS, 1 / PAIRS), draws)

    true = 0.0
    if how.startswith("nested"):
        inside = population.unlike if how == "nested, unlike" else population.at_random
        first = drawn(round(n / inside.mean()))
        second = first * inside
        sides = np.stack([np.ones(PAIRS, np.int64), inside.astype(np.int64)]) * 50
        # Of so many pairs, so that a quantile has its limit.
        true = float(np.diff(population.values(sides).value)[0])
        shared = second.sum(axis=1)
    else:
        both = drawn(n // 2 if how == "half" else 0)
        first, second = both + drawn(n - n // 2 * (how == "half")), both + drawn(n - n // 2 * (how == "half"))
        shared = both.sum(axis=1)
    found = of_sharing(
        population.values(first), population.values(second), shared, first.sum(axis=1), second.sum(axis=1)
    )
    known = ~np.isnan(found.low)
    held = (found.low <= true + 1e-12) & (true - 1e-12 <= found.high)
    return {
        "held": float(held[known].mean()) if known.any() else float("nan"),
        "width": float((found.high - found.low)[known].mean()) if known.any() else float("nan"),
        "without": float(1 - known.mean()),
    }
