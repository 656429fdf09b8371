"""What a run will write, told before it does any of it: windows, slices and SLIs, and calls of Python functions.

Limit: how many slices a window has shows only in its rows. So the most there can be is told: as many as there are
predictions by the files' footers, and, once something is published, as many as its tiles have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sli.calendar.interval import Instants, Interval
from sli.config.model import Config
from sli.logs.files import Inputs
from sli.planning.affected import SliChange, affected
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.slis import Sli
from sli.slis.custom.sampled import resamples
from sli.slis.states import SAMPLE_ROWS


@dataclass(frozen=True)
class Expected:
    """Windows to roll up, their results for each slice, results in all at most, and calls of functions at most."""

    windows: int
    for_each_slice: int
    results: int
    functions: tuple[str, ...]
    calls: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def expected(
    config: Config, plan: Plan, inputs: Inputs, published: Published | None, slices: Mapping[str, int] | None
) -> Expected:
    """What a plan comes to. `slices` are how many published tiles have of each set of columns, None before any are."""
    files, span = inputs.predictions, inputs.predictions.span
    if span is None:
        return Expected(0, 0, 0, (), 0)
    seen = int(config.zone.hours(min(span.end - 1, plan.as_of), min(span.end - 1, plan.as_of) + 1)[-1])
    newest = max(config.since_instant, seen, 0 if published is None else published.newest)
    settled = newest if published is None or plan.from_scratch else min(newest, published.newest)
    predictions = int(np.sum(files.rows.column("rows").to_numpy()))
    every: set[tuple[str, int, int]] = set()
    alone, most, calls = 0, 0, 0
    functions = tuple(each.name for each in config.declared if _is_function(each))
    for each in config.declared:
        for grain in config.all_grains:
            starts, ends = grain.windows(config.zone, config.since_instant, newest)
            chosen = affected(config.zone, plan, SliChange.of(plan, each), settled, grain, starts, ends)
            starts, ends = starts[chosen], ends[chosen]
            every.update((grain.name, int(start), int(end)) for start, end in zip(starts, ends, strict=True))
            held = predictions * _shares(starts, ends, span)
            rows = _rows(config, held, slices)
            alone, most = alone + len(starts), most + rows
            if each.name in functions:
                calls += rows
                if grain.name not in ("hour", "day") or each.reference is not None:
                    # No set of slices has more slices of so many pairs.
                    large = len(config.slice_sets) * int((held // SAMPLE_ROWS).sum())
                    calls += resamples(config.level) * min(rows, large)
    return Expected(len(every), alone, most, functions, calls)


def _is_function(sli: Sli) -> bool:
    return any(state.kind == "sample" for state in sli.formula.states.values())


def _shares(starts: Instants, ends: Instants, span: Interval) -> np.ndarray:
    """The share of the predictions in each window, were they spread evenly."""
    inside = np.minimum(ends, span.end) - np.maximum(starts, span.start)
    return np.asarray(np.maximum(inside, 0) / max(1, span.end - span.start))


def _rows(config: Config, held: np.ndarray, slices: Mapping[str, int] | None) -> int:
    """At most how many rows windows of so many predictions have, a row a slice."""
    total = 0
    for columns in config.slice_sets:
        most = np.maximum(np.ceil(held), 1) if columns else np.ones(len(held))
        if columns and slices is not None and ",".join(columns) in slices:
            most = np.full(len(held), slices[",".join(columns)])
        if columns in config.caps:
            most = np.minimum(most, config.caps[columns] + 1)
        total += int(most.sum())
    return total
