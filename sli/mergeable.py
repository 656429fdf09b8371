"""What a mergeable SLI of your own is written with: states, and a function of them once merged.

Limit: the function sees arrays, one element a window and slice; it must not loop over rows of pairs, for it sees none.
"""

from __future__ import annotations

from sli.slis.custom.mergeable import groups, histogram, largest, mergeable, smallest, total
from sli.slis.formula import Values, because, count, plain
from sli.slis.maths.confidence import mean_of, of_counts, proportion, wilson
from sli.slis.states import Groups, Histograms, Merged

__all__ = [
    "Groups",
    "Histograms",
    "Merged",
    "Values",
    "because",
    "count",
    "groups",
    "histogram",
    "largest",
    "mean_of",
    "mergeable",
    "of_counts",
    "plain",
    "proportion",
    "smallest",
    "total",
    "wilson",
]
