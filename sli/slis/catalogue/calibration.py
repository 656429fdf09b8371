"""SLIs of how well the scores of a binary task are calibrated: positives against scores, bin by bin.

Bin i of `bins`, counted from 0, is (i / bins, (i + 1) / bins], and the first includes 0. One state holds all bins.
Limit: bins of equal width only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sli.slis.catalogue.parameters import whole_number_in
from sli.slis.formula import NO_LABELS, SHARE, Formula, Values, because, entry, groups, plain
from sli.slis.maths.confidence import proportion
from sli.slis.states import Flags, Floats, Integers, Merged, sum_last_axis

OfBins = Callable[[Merged, Integers, Floats], Values]
"""Values from counts and sums of scores of all bins or of one; the last axis is positive, negative, unlabelled."""


def _of_bins(bins: int, value: OfBins) -> Formula:
    """A formula of all bins."""
    bins = whole_number_in("bins", bins, 1, 1000)
    place = f"greatest(ceil(prediction * {float(bins)!r}::DOUBLE)::INTEGER - 1, 0)"
    state = groups(
        f"{place} * 3 + CASE WHEN label THEN 0 WHEN labelled THEN 1 ELSE 2 END", "prediction IS NOT NULL", "prediction"
    )

    def of_groups(s: Merged) -> Values:
        counts, sums = s["bins"].dense([str(i) for i in range(3 * bins)])
        return value(s, counts.reshape(-1, bins, 3), sums.reshape(-1, bins, 3))

    return Formula({"bins": state}, of_groups, range=SHARE)


@entry("ece", "binary", better="lower", version=2)
def ece(bins: int = 10) -> Formula:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017).

    It is the mean distance between the mean score and the share of positives of a bin, weighted by the bin's pairs.
    """

    def value(_: Merged, counts: Integers, sums: Floats) -> Values:
        labelled, missing = counts[..., :2].sum(axis=(1, 2)), counts[..., 2]
        error = sum_last_axis(np.abs(counts[..., 0] - sum_last_axis(sums[..., :2]))) / labelled
        gap = counts[..., 0] - sum_last_axis(sums)
        # So many of the unlabelled pairs of a bin must be positive to bring its gap nearest to 0.
        nearest = np.clip(np.rint(-gap), 0, missing)
        least = sum_last_axis(np.abs(gap + nearest)) / (labelled + missing.sum(axis=1))
        most = sum_last_axis(np.maximum(np.abs(gap), np.abs(gap + missing))) / (labelled + missing.sum(axis=1))
        return plain(error, because((labelled == 0, NO_LABELS))).missing(least, most)

    return _of_bins(bins, value)


def _of_bin(bin: int, bins: int, value: OfBins) -> Formula:
    """A formula of one bin, counted from 0."""
    bins = whole_number_in("bins", bins, 1, 1000)
    at = whole_number_in("bin", bin, 0, bins - 1)
    return _of_bins(bins, lambda s, counts, sums: value(s, counts[:, at], sums[:, at]))


def _cases(s: Merged, labelled: Integers) -> tuple[tuple[Flags, str], ...]:
    """The cases where a bin is undefined; `labelled` is its number of labelled pairs."""
    return (s.labelled == 0, NO_LABELS), (labelled == 0, "no labelled predictions in the bin")


@entry("calibration", "binary", version=2)
def calibration(bin: int, bins: int = 10) -> Formula:
    """Share of positives among the pairs of a bin: a point of the reliability diagram (Murphy and Winkler 1977)."""

    def value(s: Merged, counts: Integers, _: Floats) -> Values:
        labelled, positive, missing = counts[:, :2].sum(axis=1), counts[:, 0], counts[:, 2]
        share = proportion(s, positive, labelled, *_cases(s, labelled))
        pairs = labelled + missing
        return share.missing(positive / pairs, (positive + missing) / pairs)

    return _of_bin(bin, bins, value)


@entry("calibration_score", "binary")
def calibration_score(bin: int, bins: int = 10) -> Formula:
    """Mean score of the pairs of a bin: the value that `calibration` of a calibrated model is near to."""

    def value(s: Merged, counts: Integers, sums: Floats) -> Values:
        labelled = counts[:, :2].sum(axis=1)
        return plain(sum_last_axis(sums[:, :2]) / labelled, because(*_cases(s, labelled)))

    return _of_bin(bin, bins, value)
