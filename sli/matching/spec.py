"""What a task needs to know of the config and the run, as a small value that travels to workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sli.config.model import Config
from sli.logs.reader import Log, feedback_log, predictions_log
from sli.planning.late_feedback import Horizon
from sli.slis import State

SAMPLES = 5
"""Ids named beside a count in the audit."""


@dataclass(frozen=True)
class Spec:
    """All a task needs to know of the config and the run, in plain values that travel."""

    predictions: Log
    feedback: Log
    zone: str
    tile: int
    since: int
    as_of: int
    horizon: Horizon
    task: str
    threshold: float
    query: str | None
    keep_prediction: str
    keep_feedback: str
    ignore_nulls: bool
    states: tuple[State, ...]
    slice_sets: tuple[tuple[str, ...], ...]
    edges: Mapping[str, tuple[float, ...]]
    windows: tuple[str, ...]
    functions: Mapping[str, bytes] = field(default_factory=dict)
    memory: int = 1 << 30
    threads: int = 1
    samples: int | None = SAMPLES
    """Ids named beside a count; None: all."""

    @staticmethod
    def of(
        config: Config, as_of: int, states: Iterable[str], slice_sets: tuple[tuple[str, ...], ...], threads: int
    ) -> Spec:
        from sli.slis.custom.function import pickled

        p, f = config.predictions, config.feedback
        chosen = tuple(config.states[each] for each in states)
        return Spec(
            predictions_log(config),
            feedback_log(config),
            config.timezone,
            config.tile,
            config.since_instant,
            as_of,
            Horizon.of(config),
            config.task,
            config.threshold,
            p.query,
            p.keep,
            f.keep,
            f.nulls == "ignore",
            chosen,
            slice_sets,
            config.edges,
            tuple(g.name for g in config.all_grains if g.name in ("hour", "day")),
            {s.call: pickled(s.call, config.folder) for s in chosen if s.call},
            config.task_memory,
            threads,
        )


def named_ids(spec: Spec) -> str:
    """SQL of the ids that are named beside a count."""
    # `min` of n takes room for n in every group, whether there are so many or not.
    return "list(id ORDER BY id) FILTER (WHERE id IS NOT NULL)" if spec.samples is None else f"min(id, {spec.samples})"
