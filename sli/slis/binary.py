"""SLIs of a binary task: `label` is the truth, `prediction` the score, `decision` is `score >= threshold`.

All but `prediction_rate` look at the usable pairs: those with a label and a score. Definitions: Fawcett (2006), "An
introduction to ROC analysis"; Brier (1950) for the score named after him.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from sli.slis.base import (
    NO_LABELS,
    NO_VALUES,
    Formula,
    OnRows,
    Values,
    because,
    count,
    entry,
    histogram,
    mean_of,
    plain,
    proportion,
    total,
)
from sli.slis.states import Floats, Histograms, Merged, State

Chosen = Callable[[pd.DataFrame], pd.Series]

USABLE = count("usable")
CONFUSION: dict[str, tuple[str, Chosen]] = {
    "true_positives": ("label AND decision", lambda d: d.label & d.decision),
    "false_positives": ("NOT label AND decision", lambda d: ~d.label & d.decision),
    "true_negatives": ("NOT label AND NOT decision", lambda d: ~d.label & ~d.decision),
    "false_negatives": ("label AND NOT decision", lambda d: d.label & ~d.decision),
}
TP, FP, TN, FN = (count(f"usable AND {sql}") for sql, _ in CONFUSION.values())
EPS = float(np.finfo(np.float64).eps)


def usable(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs with a label and a prediction, both as plain booleans and floats."""
    kept = pairs[pairs.usable]
    return kept.assign(label=kept.label.astype(bool), decision=kept.decision.astype(bool))


def _share(top: Chosen, among: Chosen) -> OnRows:
    def on_rows(pairs: pd.DataFrame) -> float:
        kept = usable(pairs)
        chosen = among(kept)
        return float(top(kept)[chosen].mean()) if chosen.any() else float("nan")

    return on_rows


@entry("accuracy", "binary")
def accuracy() -> Formula:
    return Formula(
        {"right": count("usable AND label = decision"), "usable": USABLE},
        lambda s: proportion(s["right"], s["usable"], (s["usable"] == 0, NO_LABELS)),
        _share(lambda d: d.label == d.decision, lambda d: d.usable),
    )


def _rate(hit: State, miss: State, undefined: str, top: Chosen, among: Chosen) -> Formula:
    """hit / (hit + miss), on rows the share of `top` among `among`."""

    def value(s: Merged) -> Values:
        whole = s["hit"] + s["miss"]
        return proportion(s["hit"], whole, (s["usable"] == 0, NO_LABELS), (whole == 0, undefined))

    return Formula({"hit": hit, "miss": miss, "usable": USABLE}, value, _share(top, among))


@entry("precision", "binary")
def precision() -> Formula:
    return _rate(TP, FP, "no positive decisions", lambda d: d.label, lambda d: d.decision)


@entry("recall", "binary")
def recall() -> Formula:
    return _rate(TP, FN, "no positive labels", lambda d: d.decision, lambda d: d.label)


@entry("specificity", "binary")
def specificity() -> Formula:
    return _rate(TN, FP, "no negative labels", lambda d: ~d.decision, lambda d: ~d.label)


@entry("positive_rate", "binary")
def positive_rate() -> Formula:
    return Formula(
        {"positive": count("usable AND label"), "usable": USABLE},
        lambda s: proportion(s["positive"], s["usable"], (s["usable"] == 0, NO_LABELS)),
        _share(lambda d: d.label, lambda d: d.usable),
    )


@entry("prediction_rate", "binary")
def prediction_rate() -> Formula:
    def on_rows(pairs: pd.DataFrame) -> float:
        decided = pairs.decision[pairs.prediction.notna()].astype(bool)
        return float(decided.mean()) if len(decided) else float("nan")

    return Formula(
        {"positive": count("decision"), "decided": count("prediction IS NOT NULL")},
        lambda s: proportion(s["positive"], s["decided"], (s["decided"] == 0, NO_VALUES)),
        on_rows,
    )


@entry("f1", "binary")
def f1() -> Formula:
    def value(s: Merged) -> Values:
        twice = 2 * s["tp"]
        whole = twice + s["fp"] + s["fn"]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = twice / whole
        return plain(share, because((s["usable"] == 0, NO_LABELS), (whole == 0, "no positive labels or decisions")))

    def on_rows(pairs: pd.DataFrame) -> float:
        kept = usable(pairs)
        both, either = (kept.label & kept.decision).sum(), kept.label.sum() + kept.decision.sum()
        return float(2 * both / either) if either else float("nan")

    return Formula({"tp": TP, "fp": FP, "fn": FN, "usable": USABLE}, value, on_rows)


@entry("log_loss", "binary")
def log_loss() -> Formula:
    clipped = f"least(greatest(prediction, {EPS!r}::DOUBLE), 1.0::DOUBLE - {EPS!r}::DOUBLE)"

    def on_rows(pairs: pd.DataFrame) -> float:
        kept = usable(pairs)
        score = kept.prediction.clip(EPS, 1 - EPS).to_numpy()
        return float(np.where(kept.label, -np.log(score), -np.log(1 - score)).mean()) if len(kept) else float("nan")

    return Formula(
        {
            "loss": total(f"CASE WHEN label THEN -ln({clipped}) ELSE -ln(1.0::DOUBLE - {clipped}) END", "usable"),
            "usable": USABLE,
        },
        lambda s: mean_of(s["loss"], s["usable"], NO_LABELS),
        on_rows,
    )


@entry("brier", "binary")
def brier() -> Formula:
    def on_rows(pairs: pd.DataFrame) -> float:
        kept = usable(pairs)
        return float(((kept.prediction - kept.label) ** 2).mean()) if len(kept) else float("nan")

    return Formula(
        {"loss": total("(prediction - label::INT) * (prediction - label::INT)", "usable"), "usable": USABLE},
        lambda s: mean_of(s["loss"], s["usable"], NO_LABELS),
        on_rows,
    )


def _confusion(name: str) -> None:
    sql, chosen = CONFUSION[name]

    def make() -> Formula:
        return Formula(
            {"n": count(f"usable AND {sql}"), "usable": USABLE},
            lambda s: plain(s["n"].astype(np.float64), because((s["usable"] == 0, NO_LABELS))),
            lambda d: float(chosen(usable(d)).sum()) if d.usable.any() else float("nan"),
        )

    entry(name, "binary")(make)


for _name in CONFUSION:
    _confusion(_name)


def auc(positive: Histograms, negative: Histograms) -> tuple[Floats, Floats]:
    """Area under the ROC curve of each row and a bound on its error.

    The area is the share of (positive, negative) pairs ranked right, ties half (Mann and Whitney 1947). Where scores
    were rounded, only pairs that fell on one rounded score can be ranked wrong: half their share bounds the error.
    """
    exact = positive.exact & negative.exact
    rows = np.concatenate([positive.rows, negative.rows])
    keys = np.concatenate([positive.where_exact(exact), negative.where_exact(exact)])
    p = np.concatenate([positive.counts, np.zeros_like(negative.counts)])
    n = np.concatenate([np.zeros_like(positive.counts), negative.counts])
    order = np.lexsort((keys, rows))
    rows, keys, p, n = rows[order], keys[order], p[order], n[order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]) | (keys[1:] != keys[:-1])
    at = np.flatnonzero(first)
    if len(at) == 0:
        return np.full(len(exact), np.nan), np.full(len(exact), np.nan)
    rows, p, n = rows[at], np.add.reduceat(p, at), np.add.reduceat(n, at)
    running = np.concatenate([[0], np.cumsum(n)])
    starts = np.searchsorted(rows, np.arange(len(exact)))
    below = running[:-1] - running[starts[rows]]
    twice = np.zeros(len(exact), dtype=np.int64)
    np.add.at(twice, rows, p * (2 * below + n))
    tied = np.zeros(len(exact), dtype=np.int64)
    np.add.at(tied, rows, p * n)
    pairs = positive.totals.astype(np.float64) * negative.totals
    with np.errstate(divide="ignore", invalid="ignore"):
        return twice / (2 * pairs), np.where(exact, 0.0, tied / (2 * pairs))


@entry("roc_auc", "binary")
def roc_auc() -> Formula:
    def value(s: Merged) -> Values:
        area, bound = auc(s["positive"], s["negative"])
        one_class = (s["positive"].totals == 0) | (s["negative"].totals == 0)
        return plain(area, because((s["usable"] == 0, NO_LABELS), (one_class, "only one class")), bound)

    def on_rows(pairs: pd.DataFrame) -> float:
        kept = usable(pairs)
        high = kept.label.sum()
        low = len(kept) - high
        ranks = kept.prediction.rank()[kept.label].sum()
        return float((ranks - high * (high + 1) / 2) / (high * low)) if high and low else float("nan")

    return Formula(
        {
            "positive": histogram("prediction", "usable AND label", "probability"),
            "negative": histogram("prediction", "usable AND NOT label", "probability"),
            "usable": USABLE,
        },
        value,
        on_rows,
    )
