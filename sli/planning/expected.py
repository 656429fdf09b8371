"""What a run will write, estimated before it does any of it: windows, results, and calls of Python functions.

Limit: only the rows show how many slices a window has. So the estimate is an upper limit: from the number of
predictions in the footers of the files and, once something is published, from the number of slices in the tiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from sli.calendar.interval import BEGINNING, Instants, Interval
from sli.config.model import Config
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.slices import SliceBy
from sli.slis.custom.sampled import resamples
from sli.slis.kinds.samples import SAMPLE_ROWS
from sli.slis.states import Floats


@dataclass(frozen=True)
class Expected:
    """How much work a plan is."""

    windows: int
    """Windows to roll up."""
    for_each_slice: int
    """Results per slice: the number of pairs of an SLI and a window that is rolled up for it."""
    results: int
    """Results in all, at most."""
    functions: tuple[str, ...]
    """SLIs that call a Python function."""
    calls: int
    """Calls of these functions, at most."""
    seconds_a_call: float | None = None
    """How long a call took in the last runs, in seconds of one core; None if they made none."""

    def to_dict(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


def expected(config: Config, plan: Plan, published: Published | None, slices: Mapping[str, int] | None) -> Expected:
    """Estimate how much work a plan is.

    `slices`: how many slices the published tiles have, by the columns joined with commas; None before any are.
    """
    span = plan.inputs.predictions.span
    if span is None:
        return Expected(0, 0, 0, (), 0)
    if plan.since > BEGINNING:
        span = Interval(min(span.start, config.since_instant), span.end)  # older files are not listed
    last = min(span.end - 1, plan.as_of)
    newest = max(config.since_instant, int(config.zone.hours(last, last + 1)[-1]), published.newest if published else 0)
    settled = newest if published is None or plan.from_scratch else min(newest, published.newest)
    total = plan.listed.rows
    windows: set[tuple[str, int, int]] = set()
    for_each_slice, results, calls = 0, 0, 0
    functions = tuple(sli.name for sli in config.declared if sli.formula.calls_function)
    for sli in config.declared:
        for grain, starts, ends in plan.roll_up.windows(config, plan.roll_up.group_of[sli.name], newest, settled):
            windows.update((grain.name, int(start), int(end)) for start, end in zip(starts, ends, strict=True))
            predictions = total * _shares(starts, ends, span)
            rows = _most_results(config.caps, config.slice_sets, predictions, slices)
            for_each_slice, results = for_each_slice + len(starts), results + rows
            if sli.name in functions:
                calls += rows
                if grain.name not in ("hour", "day") or sli.reference is not None:
                    # In each slice set at most this many slices have more pairs than a sample keeps.
                    large = len(config.slice_sets) * int((predictions // SAMPLE_ROWS).sum())
                    calls += resamples(config.level) * min(rows, large)
    return Expected(len(windows), for_each_slice, results, functions, calls)


def _shares(starts: Instants, ends: Instants, span: Interval) -> Floats:
    """The share of all predictions in each window, supposing that they are spread evenly over `span`."""
    inside = np.minimum(ends, span.end) - np.maximum(starts, span.start)
    return np.asarray(np.maximum(inside, 0) / max(1, span.end - span.start))


def _most_results(
    caps: Mapping[SliceBy, int], slice_sets: Sequence[SliceBy], predictions: Floats, slices: Mapping[str, int] | None
) -> int:
    """At most how many results windows with these numbers of predictions have, one a slice."""
    total = 0
    for columns in slice_sets:
        most = np.maximum(np.ceil(predictions), 1) if columns else np.ones(len(predictions))
        if columns and slices is not None and ",".join(columns) in slices:
            most = np.full(len(predictions), slices[",".join(columns)])
        if columns in caps:
            most = np.minimum(most, caps[columns] + 1)
        total += int(most.sum())
    return total
