"""The kinds of states: one module has all that is known of a kind.

That is its Arrow type, how it is collected from pairs, merged, updated and read, what an SLI sees of it, and the memory
it takes. `parts` and `lists` are the two families of kinds that merge. A new kind is a module here and its class in
`KINDS`; the laws of `tests/laws/slis/test_kinds.py` then hold it to what they hold every kind.
"""

from __future__ import annotations

from sli.slis.kinds.counts import CountState
from sli.slis.kinds.distincts import DistinctState
from sli.slis.kinds.extremes import MaxState, MinState
from sli.slis.kinds.groups import GroupsState
from sli.slis.kinds.histograms import HistogramState
from sli.slis.kinds.samples import SampleState
from sli.slis.kinds.sums import SumState
from sli.slis.kinds.windows import WindowState
from sli.slis.states import State

KINDS: tuple[type[State], ...] = (
    CountState,
    SumState,
    MinState,
    MaxState,
    HistogramState,
    GroupsState,
    DistinctState,
    SampleState,
    WindowState,
)
