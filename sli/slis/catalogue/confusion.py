"""The confusion matrices of a multiclass task: from the state that holds them to values with intervals.

One state, the number of usable pairs by label and prediction, serves all SLIs of the decisions. Limit: pairs whose
label or prediction is not among `classes` do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sli.errors import ConfigError, check_known
from sli.slis.catalogue.class_scores import Classes
from sli.slis.formula import NO_LABELS, Values, because, groups, plain
from sli.slis.kinds.groups import Groups
from sli.slis.maths.confidence import normal
from sli.slis.states import Flags, Floats, Integers, Merged, sum_last_axis, sums_by

BETWEEN = "\x1f"
"""Between label and prediction in a key of `CELLS`."""
CELLS = groups("label || chr(31) || prediction", "usable")
WAITING = groups("prediction", "NOT labelled AND prediction IS NOT NULL")

Slopes = tuple[Floats, Floats, Floats]
OfShares = Callable[[Floats, Floats, Floats], tuple[Floats, Slopes]]
"""A value and its derivatives from the shares of pairs right, labelled and predicted, one column for each class."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Confusion matrices of n rows.

    The cells that are not empty are flat: their row, `label` and `decision` (places among the classes) and count.
    `right`, `labels` and `decisions` have one column for each class: the pairs that are right, labelled, predicted.
    """

    rows: Integers
    label: Integers
    decision: Integers
    counts: Integers
    right: Integers
    labels: Integers
    decisions: Integers

    @property
    def pairs(self) -> Integers:
        """Number of pairs in each row."""
        pairs: Integers = self.labels.sum(axis=1)
        return pairs


def table(cells: Groups, classes: Classes) -> Table:
    """The confusion matrices that the state `CELLS` holds."""
    place = {name: i for i, name in enumerate(classes)}
    names = [str(key).split(BETWEEN) for key in cells.keys]
    label = np.array([place.get(halves[0], -1) for halves in names], dtype=np.int64)
    decision = np.array([place.get(halves[-1], -1) for halves in names], dtype=np.int64)
    known = (label >= 0) & (decision >= 0)
    rows, label, decision, counts = cells.rows[known], label[known], decision[known], cells.counts[known]
    labels, decisions, right = (np.zeros((len(cells.offsets) - 1, len(classes)), dtype=np.int64) for _ in range(3))
    np.add.at(labels, (rows, label), counts)
    np.add.at(decisions, (rows, decision), counts)
    same = label == decision
    right[rows[same], label[same]] = counts[same]
    return Table(
        rows=rows, label=label, decision=decision, counts=counts, right=right, labels=labels, decisions=decisions
    )


def _error(t: Table, slopes: Slopes, more: float) -> Floats:
    """Delta-method standard error of a value with these slopes, after adding `more` pairs as `of_shares` does."""
    by_right, by_label, by_decision = slopes
    n = t.pairs.astype(np.float64)
    r, c = t.labels / n[:, None], t.decisions / n[:, None]
    slope = by_label[t.rows, t.label] + by_decision[t.rows, t.decision]
    slope = slope + np.where(t.label == t.decision, by_right[t.rows, t.label], 0.0)
    observed = [sums_by(t.rows, t.counts * slope**power, len(n)) / n for power in (1, 2)]
    of_label, of_decision = sum_last_axis(r * by_label), sum_last_axis(c * by_decision)
    chance = of_label + of_decision + sum_last_axis(r * c * by_right)
    squares = sum_last_axis(r * by_label**2) + sum_last_axis(c * by_decision**2) + 2 * of_label * of_decision
    squares = squares + sum_last_axis(r * c * by_right * (by_right + 2 * (by_label + by_decision)))
    mean = (n * observed[0] + more * chance) / (n + more)
    square = (n * observed[1] + more * squares) / (n + more)
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0.0) / (n + more)), dtype=np.float64)


def of_shares(s: Merged, t: Table, function: OfShares, *cases: tuple[Flags, str]) -> Values:
    """A function of a confusion matrix with a delta-method interval; undefined where a case holds.

    The interval is computed from the matrix with z^2 more pairs, spread as if labels and predictions were independent:
    the pseudo-Bayes estimator of Bishop, Fienberg and Holland (1975), chapter 12. The delta method alone gives a matrix
    without errors an interval without width.
    """
    more = normal(s.level) ** 2
    n = t.pairs[:, None].astype(np.float64)
    d, r, c = t.right / n, t.labels / n, t.decisions / n
    value, _ = function(d, r, c)
    middle, slopes = function((n * d + more * r * c) / (n + more), r, c)
    half = normal(s.level) * _error(t, slopes, more)
    values = plain(value, because((t.pairs == 0, NO_LABELS), *cases))
    return values.within(middle - half, middle + half)


def place_of(name: object, classes: Classes, where: str) -> int:
    """The place of a class among the classes. Raises ConfigError."""
    check_known(f"'{name}' is not a class", str(name), classes, where=where)
    return list(classes).index(str(name))


AVERAGES = ("macro", "micro", "weighted")


def one_or_average(
    name: str, classes: Classes, label: str | None, average: str | None, averages: Sequence[str] = AVERAGES
) -> tuple[int | None, str]:
    """The place of the class `label`, or None and the `average` to take (by default macro). Raises ConfigError."""
    if label is not None and average is not None:
        raise ConfigError(f"{name} has both `label` and `average`", where=name, todo="give either `label` or `average`")
    if average is not None:
        check_known(f"'{average}' is not an average", average, averages, where=name)
    return None if label is None else place_of(label, classes, name), average or "macro"
