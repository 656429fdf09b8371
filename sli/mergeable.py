"""What you write a mergeable SLI of your own with: states, and functions that make values with intervals of them.

Limit: your function gets arrays with one element for each window and slice; it never sees the rows of pairs.
"""

from __future__ import annotations

from sli.slis.custom.mergeable import groups, histogram, largest, mergeable, smallest, total
from sli.slis.formula import Values, because, count, plain
from sli.slis.kinds.groups import Groups
from sli.slis.kinds.histograms import Histograms
from sli.slis.maths.confidence import mean_of, of_counts, proportion, wilson
from sli.slis.states import Merged

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
