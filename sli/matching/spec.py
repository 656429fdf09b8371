"""What a task needs to know of the config and the run, as a small value that is sent to workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sli.config.model import Config
from sli.logs.log import Log, feedback_log, predictions_log
from sli.planning.late_feedback import Horizon
from sli.planning.reach import Reach
from sli.slis import State

SAMPLES = 5
"""How many ids the audit names for a count."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """All a task needs to know, in plain values; times are in microseconds."""

    predictions: Log
    feedback: Log
    zone: str
    tile: int
    """Length of a tile."""
    since: int
    as_of: int
    horizon: Horizon
    reach: Reach
    task: str
    """`binary`, `multiclass`, `regression` or `ranking`."""
    threshold: float
    query: str | None
    """The column whose value names the query of a ranking."""
    keep_prediction: str
    """Which of several predictions with one id wins: the `first` or the `latest`."""
    keep_feedback: str
    """Which of several feedback rows counts: the `latest` or the `first`."""
    known_at_once: bool
    """Whether feedback has no time and is known as soon as its prediction is."""
    ignore_nulls: bool
    """Whether feedback without a value is ignored; otherwise it withdraws earlier feedback."""
    states: tuple[State, ...]
    slice_sets: tuple[tuple[str, ...], ...]
    edges: Mapping[str, tuple[float, ...]]
    windows: tuple[str, ...]
    """The grains `hour` and `day`, if they are declared."""
    own_sql: bool = True
    """Whether a state may have SQL of the config. Such SQL runs where no file can be read."""
    functions: Mapping[str, bytes] = field(default_factory=dict)
    """The user's functions by their names, pickled."""
    memory: int = 1 << 30
    """Bytes that a task may take."""
    threads: int = 1
    samples: int | None = SAMPLES
    """How many ids are named for a count; None: all."""

    @property
    def logs(self) -> dict[str, Log]:
        """Both logs by their names."""
        return {"predictions": self.predictions, "feedback": self.feedback}

    @staticmethod
    def of(
        config: Config, as_of: int, states: Iterable[str], slice_sets: tuple[tuple[str, ...], ...], threads: int
    ) -> Spec:
        from sli.slis.custom.function import pickled

        computed = tuple(config.states[state] for state in states)
        return Spec(
            predictions=predictions_log(config),
            feedback=feedback_log(config),
            zone=config.timezone,
            tile=config.tile,
            since=config.since_instant,
            as_of=as_of,
            horizon=Horizon.of(config),
            reach=Reach.of(config),
            task=config.task,
            threshold=config.threshold,
            query=config.predictions.query,
            keep_prediction=config.predictions.keep,
            keep_feedback=config.feedback_rules.keep,
            known_at_once=config.known_at_once,
            ignore_nulls=config.feedback_rules.nulls == "ignore",
            states=computed,
            slice_sets=slice_sets,
            edges=config.edges,
            windows=tuple(grain.name for grain in config.all_grains if grain.name in ("hour", "day")),
            own_sql=any("sli" not in sli.declaration for sli in config.declared),
            functions={state.call: pickled(state.call, config.folder) for state in computed if state.call},
            memory=config.task_memory,
            threads=threads,
        )


def named_ids(spec: Spec) -> str:
    """SQL aggregate: the ids that are named for a count."""
    # DuckDB's min(x, n) reserves memory for n values in every group, so it is used only for a small n.
    return "list(id ORDER BY id) FILTER (WHERE id IS NOT NULL)" if spec.samples is None else f"min(id, {spec.samples})"
