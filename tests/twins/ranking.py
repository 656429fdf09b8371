"""Twins of the ranking SLIs, a query at a time."""

import functools

import numpy as np
import pandas as pd
from sklearn import metrics
from twins.common import nan

_SEEN = {}


def queries(d):
    """Each query: whether it is complete, labels, and scores that rank them: distinct, equal ones worst label first.

    The rows of a window are the same frame for every SLI: they are grouped once. The frame is kept with its queries,
    since only a living frame has its id for itself.
    """
    if id(d) not in _SEEN:
        _SEEN[id(d)] = (d, list(grouped(d)))
    return _SEEN[id(d)][1]


def grouped(d):
    for _, rows in d[d["query"].notna()].groupby([d["query"], pd.to_datetime(d.predicted_at, utc=True).dt.floor("h")]):
        label, score = rows.label.to_numpy(float), rows.prediction.to_numpy(float)
        place = np.argsort(np.lexsort((label, -score)))
        yield bool(rows.usable.all()), label, -place.astype(float)


def mean(function, relevant=False):
    """Mean of a function of labels and scores over the complete queries, or those of them with a relevant one."""

    @functools.cache
    def of_query(y, s, given):
        return function(np.frombuffer(y), np.frombuffer(s), **dict(given))

    def twin(d, **given):
        each = [
            of_query(y.tobytes(), s.tobytes(), tuple(given.items()))
            for complete, y, s in queries(d)
            if complete and (not relevant or y.any())
        ]
        return float(np.mean(each)) if each else nan

    return twin


def ndcg(y, s, k=10):
    # A query of one prediction, which scikit-learn refuses, is in the best order.
    return metrics.ndcg_score([y], [s], k=k, ignore_ties=True) if len(y) > 1 else 1.0


def average_precision(y, s):
    return metrics.average_precision_score(y > 0, s)


def reciprocal(y, s):
    places = [place for place, at in enumerate(np.argsort(-s), start=1) if y[at] > 0]
    return 1 / places[0] if places else 0.0


def hits(y, s, k):
    return int(np.count_nonzero(y[s > -k]))


TWINS = {
    "ndcg": mean(ndcg, relevant=True),
    "mrr": mean(reciprocal),
    "hit_rate": mean(lambda y, s, k: float(hits(y, s, k) > 0)),
    "precision_at_k": mean(lambda y, s, k: hits(y, s, k) / k),
    "recall_at_k": mean(lambda y, s, k: hits(y, s, k) / np.count_nonzero(y), relevant=True),
    "average_precision": mean(average_precision, relevant=True),
    "queries": lambda d: float(sum(complete for complete, _, _ in queries(d))),
    "query_coverage": lambda d: float(np.mean([c for c, _, _ in queries(d)])) if d["query"].notna().any() else nan,
}
CUTS = [{"k": 1}, {"k": 3}]
PARAMETERS = {"ndcg": [{}, *CUTS], "hit_rate": CUTS, "precision_at_k": CUTS, "recall_at_k": CUTS}
