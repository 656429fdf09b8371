"""SLIs of a ranking task: how the predictions of each query, best score first, are ordered by their labels.

A label is a relevance, 0 or more; a prediction is relevant if its label is above 0. A query is the predictions with one
query id in one tile and slice. Only complete queries count: every prediction has a score and a label. Equal scores are
ordered worst label first, so that a constant score gains nothing. Limit: intervals suppose independent queries.
"""

from __future__ import annotations

import numpy as np

from sli.slis.catalogue.parameters import whole_number_in
from sli.slis.formula import NOT_NEGATIVE, SHARE, Formula, Values, entry, plain
from sli.slis.kinds.counts import CountState
from sli.slis.kinds.sums import SumState
from sli.slis.maths.confidence import mean_of, proportion
from sli.slis.states import Merged, State

NO_QUERIES = "no queries"
NO_COMPLETE = "no complete queries"
NO_RELEVANT = "no complete queries with a relevant prediction"
RELEVANT = "complete AND ideal[1] > 0"
"""SQL condition of complete queries with a relevant prediction."""


def _count(where: str) -> State:
    return CountState(where=where, unit="query")


def _mean(of: str, where: str, undefined: str) -> Formula:
    """Mean of the SQL expression `of` over the queries where `where` holds: `RELEVANT`, or `complete` for all."""

    def value(s: Merged) -> Values:
        return mean_of(s, s["sum"], s["squares"], s["n"], undefined, SHARE, (s["complete"] == 0, NO_COMPLETE))

    return Formula(
        {
            "sum": SumState(of=of, where=where, unit="query"),
            "squares": SumState(of=f"({of}) * ({of})", where=where, unit="query"),
            "n": _count(where),
            "complete": _count("complete"),
        },
        value,
        range=SHARE,
    )


def _relevant(of: str) -> str:
    """SQL: the number of relevant labels in a list."""
    return f"len(list_filter({of}, lambda x: x > 0))"


def _gain(of: str, k: int) -> str:
    """SQL: the sum over the first k labels of a list of label / log2(place + 1)."""
    return f"list_sum(list_transform({of}[1:{k}], lambda x, i: x / log2((i + 1)::DOUBLE)))"


@entry("ndcg", "ranking", better="higher", version=2)
def ndcg(k: int = 10) -> Formula:
    """Gain of the first k over the gain in the best order (Järvelin, Kekäläinen 2002): linear gain, log2 discount."""
    k = whole_number_in("k", k, 1)
    return _mean(
        f"{_gain('ranked', k)} / {_gain('ideal', k)}",
        RELEVANT,
        NO_RELEVANT,
    )


@entry("mrr", "ranking", better="higher", version=2)
def mrr() -> Formula:
    """1 / place of the first relevant prediction, 0 without one (Voorhees 1999, "The TREC-8 QA track report")."""
    first = "list_position(list_transform(ranked, lambda x: x > 0), true)"

    return _mean(f"coalesce(1.0::DOUBLE / {first}, 0.0::DOUBLE)", "complete", NO_COMPLETE)


@entry("precision_at_k", "ranking", better="higher", version=2)
def precision_at_k(k: int) -> Formula:
    """Number of relevant predictions among the first k, over k (Manning et al. 2008, section 8.4)."""
    k = whole_number_in("k", k, 1)
    return _mean(
        f"{_relevant(f'ranked[1:{k}]')}::DOUBLE / {k}",
        "complete",
        NO_COMPLETE,
    )


@entry("recall_at_k", "ranking", better="higher", version=2)
def recall_at_k(k: int) -> Formula:
    """Share of the relevant predictions that are among the first k (Manning et al. 2008, section 8.4)."""
    k = whole_number_in("k", k, 1)
    return _mean(
        f"{_relevant(f'ranked[1:{k}]')}::DOUBLE / {_relevant('ranked')}",
        RELEVANT,
        NO_RELEVANT,
    )


@entry("average_precision", "ranking", better="higher", version=2)
def average_precision() -> Formula:
    """Mean over the relevant predictions of the precision down to their place: MAP (Manning et al. 2008, 8.4)."""
    places = "list_filter(list_transform(ranked, lambda x, i: CASE WHEN x > 0 THEN i END), lambda p: p IS NOT NULL)"
    return _mean(
        f"list_sum(list_transform({places}, lambda p, i: i::DOUBLE / p)) / {_relevant('ranked')}",
        RELEVANT,
        NO_RELEVANT,
    )


@entry("hit_rate", "ranking", better="higher", version=2)
def hit_rate(k: int) -> Formula:
    """Share of the queries with a relevant prediction among the first k (Deshpande and Karypis 2004)."""
    k = whole_number_in("k", k, 1)
    return Formula(
        {"hit": _count(f"complete AND {_relevant(f'ranked[1:{k}]')} > 0"), "complete": _count("complete")},
        lambda s: proportion(s, s["hit"], s["complete"], (s["complete"] == 0, NO_COMPLETE)),
        range=SHARE,
    )


@entry("queries", "ranking")
def queries() -> Formula:
    """Number of complete queries."""
    return Formula(
        {"complete": _count("complete")},
        lambda s: plain(s["complete"].astype(np.float64)),
        range=NOT_NEGATIVE,
    )


@entry("query_coverage", "ranking", better="higher", version=2)
def query_coverage() -> Formula:
    """Share of the queries that are complete."""

    return Formula(
        {"complete": _count("complete"), "queries": _count("true")},
        lambda s: proportion(s, s["complete"], s["queries"], (s["queries"] == 0, NO_QUERIES)),
        range=SHARE,
    )
