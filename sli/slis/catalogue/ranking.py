"""SLIs of a ranking task: how the predictions of each query, best score first, are ordered by their labels.

A label is a relevance, 0 or more; a prediction is relevant if its label is above 0. A query is the predictions with one
query id in one tile and slice. Only complete queries count: every prediction has a score and a label. Equal scores are
ordered worst label first, so that a constant score gains nothing. Limit: intervals suppose independent queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sli.slis.catalogue.parameters import whole_number_in
from sli.slis.formula import NOT_NEGATIVE, SHARE, Formula, OnRows, Values, entry, plain
from sli.slis.kinds.counts import CountState
from sli.slis.kinds.sums import SumState
from sli.slis.maths.confidence import mean_of, proportion
from sli.slis.states import Floats, Merged, State

if TYPE_CHECKING:
    import pandas as pd

NO_QUERIES = "no queries"
NO_COMPLETE = "no complete queries"
NO_RELEVANT = "no complete queries with a relevant prediction"
RELEVANT = "complete AND ideal[1] > 0"
"""SQL condition of complete queries with a relevant prediction."""

OfRanked = Callable[[Floats], float]
"""The value of a complete query from its labels, best score first."""


def _count(where: str) -> State:
    return CountState(where=where, unit="query")


def _queries(pairs: pd.DataFrame) -> list[tuple[bool, Floats]]:
    """For each query: whether it is complete, and its labels by descending score, ties by ascending label."""
    import pandas as pd

    tile = pd.to_datetime(pairs.predicted_at, utc=True).dt.floor(pairs.attrs["tile"])
    rows = pairs.assign(label=pairs.label.astype(float), score=pairs.prediction.astype(float))
    rows = rows.sort_values(["score", "label"], ascending=[False, True])
    number = rows.groupby(["query", tile]).ngroup().to_numpy()  # -1 without a query
    by_query = np.argsort(number, kind="stable")
    ends = np.flatnonzero(np.diff(number[by_query], append=-2)) + 1
    usable, label = (rows[name].to_numpy()[by_query] for name in ("usable", "label"))
    queries = zip([0, *ends[:-1]], ends, strict=True) if len(rows) else ()
    return [(bool(usable[i:j].all()), label[i:j]) for i, j in queries if number[by_query[i]] >= 0]


def _mean(of: str, where: str, undefined: str, on_ranked: OfRanked) -> Formula:
    """Mean of the SQL expression `of` over the queries where `where` holds: `RELEVANT`, or `complete` for all."""

    def value(s: Merged) -> Values:
        mean = mean_of(s, s["sum"], s["squares"], s["n"], undefined, SHARE)
        return replace(mean, reason=np.where(s["complete"] == 0, NO_COMPLETE, mean.reason))

    return Formula(
        {
            "sum": SumState(of=of, where=where, unit="query"),
            "squares": SumState(of=f"({of}) * ({of})", where=where, unit="query"),
            "n": _count(where),
            "complete": _count("complete"),
        },
        value,
        _mean_on_rows(on_ranked, among=lambda ranked: where != RELEVANT or bool((ranked > 0).any())),
        range=SHARE,
    )


def _mean_on_rows(on_ranked: OfRanked, among: Callable[[Floats], bool]) -> OnRows:
    def on_rows(pairs: pd.DataFrame) -> float:
        values = [on_ranked(ranked) for complete, ranked in _queries(pairs) if complete and among(ranked)]
        return float(np.mean(values)) if values else float("nan")

    return on_rows


def _relevant(of: str) -> str:
    """SQL: the number of relevant labels in a list."""
    return f"len(list_filter({of}, lambda x: x > 0))"


def _gain(of: str, k: int) -> str:
    """SQL: the sum over the first k labels of a list of label / log2(place + 1)."""
    return f"list_sum(list_transform({of}[1:{k}], lambda x, i: x / log2((i + 1)::DOUBLE)))"


def _gain_on_rows(labels: Floats, k: int) -> float:
    return float((labels[:k] / np.log2(np.arange(len(labels[:k])) + 2)).sum())


@entry("ndcg", "ranking", parameters=("k",), better="higher", version=2)
def ndcg(k: int = 10) -> Formula:
    """Gain of the first k over the gain in the best order (Järvelin, Kekäläinen 2002): linear gain, log2 discount."""
    k = whole_number_in("k", k, 1)
    return _mean(
        f"{_gain('ranked', k)} / {_gain('ideal', k)}",
        RELEVANT,
        NO_RELEVANT,
        lambda ranked: _gain_on_rows(ranked, k) / _gain_on_rows(np.sort(ranked)[::-1], k),
    )


@entry("mrr", "ranking", better="higher", version=2)
def mrr() -> Formula:
    """1 / place of the first relevant prediction, 0 without one (Voorhees 1999, "The TREC-8 QA track report")."""
    first = "list_position(list_transform(ranked, lambda x: x > 0), true)"

    def on_ranked(ranked: Floats) -> float:
        return float(1 / (np.argmax(ranked > 0) + 1)) if (ranked > 0).any() else 0.0

    return _mean(f"coalesce(1.0::DOUBLE / {first}, 0.0::DOUBLE)", "complete", NO_COMPLETE, on_ranked)


@entry("precision_at_k", "ranking", parameters=("k",), better="higher", version=2)
def precision_at_k(k: int) -> Formula:
    """Number of relevant predictions among the first k, over k (Manning et al. 2008, section 8.4)."""
    k = whole_number_in("k", k, 1)
    return _mean(
        f"{_relevant(f'ranked[1:{k}]')}::DOUBLE / {k}",
        "complete",
        NO_COMPLETE,
        lambda ranked: float((ranked[:k] > 0).sum() / k),
    )


@entry("recall_at_k", "ranking", parameters=("k",), better="higher", version=2)
def recall_at_k(k: int) -> Formula:
    """Share of the relevant predictions that are among the first k (Manning et al. 2008, section 8.4)."""
    k = whole_number_in("k", k, 1)
    return _mean(
        f"{_relevant(f'ranked[1:{k}]')}::DOUBLE / {_relevant('ranked')}",
        RELEVANT,
        NO_RELEVANT,
        lambda ranked: float((ranked[:k] > 0).sum() / (ranked > 0).sum()),
    )


@entry("average_precision", "ranking", better="higher", version=2)
def average_precision() -> Formula:
    """Mean over the relevant predictions of the precision down to their place: MAP (Manning et al. 2008, 8.4)."""
    places = "list_filter(list_transform(ranked, lambda x, i: CASE WHEN x > 0 THEN i END), lambda p: p IS NOT NULL)"
    return _mean(
        f"list_sum(list_transform({places}, lambda p, i: i::DOUBLE / p)) / {_relevant('ranked')}",
        RELEVANT,
        NO_RELEVANT,
        lambda ranked: float((np.cumsum(ranked > 0) / (np.arange(len(ranked)) + 1))[ranked > 0].mean()),
    )


@entry("hit_rate", "ranking", parameters=("k",), better="higher", version=2)
def hit_rate(k: int) -> Formula:
    """Share of the queries with a relevant prediction among the first k (Deshpande and Karypis 2004)."""
    k = whole_number_in("k", k, 1)
    return Formula(
        {"hit": _count(f"complete AND {_relevant(f'ranked[1:{k}]')} > 0"), "complete": _count("complete")},
        lambda s: proportion(s, s["hit"], s["complete"], (s["complete"] == 0, NO_COMPLETE)),
        _mean_on_rows(lambda ranked: float((ranked[:k] > 0).any()), among=lambda _: True),
        range=SHARE,
    )


@entry("queries", "ranking")
def queries() -> Formula:
    """Number of complete queries."""
    return Formula(
        {"complete": _count("complete")},
        lambda s: plain(s["complete"].astype(np.float64), np.full(len(s["complete"]), None, dtype=object)),
        lambda pairs: float(sum(complete for complete, _ in _queries(pairs))),
        range=NOT_NEGATIVE,
    )


@entry("query_coverage", "ranking", better="higher", version=2)
def query_coverage() -> Formula:
    """Share of the queries that are complete."""

    def on_rows(pairs: pd.DataFrame) -> float:
        return float(np.mean([complete for complete, _ in _queries(pairs)])) if pairs["query"].notna().any() else np.nan

    return Formula(
        {"complete": _count("complete"), "queries": _count("true")},
        lambda s: proportion(s, s["complete"], s["queries"], (s["queries"] == 0, NO_QUERIES)),
        on_rows,
        range=SHARE,
    )
