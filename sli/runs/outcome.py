"""Outcome: what a run did, and what its user should look at.

Limit: it says which results changed, not why a model became better or worse.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from sli.config.model import Config
from sli.logs.files import Inputs
from sli.planning.plan import Plan
from sli.publishing.conflicts import Conflicts
from sli.publishing.diff import REVISED, Difference
from sli.rollup.evaluate import too_few
from sli.schemas import AUDIT, REVISIONS
from sli.slis import Sli
from sli.slis.custom.sql import INFINITE, NULL
from sli.slis.formula import NO_LABELS, NO_REFERENCE


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run did. `results` is how many rows the partitions that it wrote hold now.

    `newly_bad` and `conflicts` list what this run found for the first time; every run repeats `warnings` until their
    cause is gone.
    """

    plan: Plan
    published: bool = False
    results: int = 0
    audit: pa.Table
    newly_bad: pa.Table
    """The rows of the audit that are bad input and count more than before."""
    newly_late: int = 0
    """Rows of feedback that came later than the horizon, which no run had found before."""
    failing: tuple[str, ...] = ()
    """The user's own SLIs that failed, each as `name: reason (n windows)`."""
    warnings: tuple[str, ...]
    seconds: float = 0.0
    """Wall-clock time from the call to its end: with failed attempts, and with the start and end of a cluster."""
    changes: Difference = field(repr=False)
    inputs: Inputs = field(repr=False)
    conflicts: tuple[Conflicts, ...] = ()
    """Logs with too many conflicts: rows that lost to a row of the same id with another value."""
    first: Outcome | None = field(default=None, repr=False)
    """The run that this one followed at once, if there is one. The fields above say what both did."""

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What a notebook shows."""
        changed = f"hours recomputed: {self.tiles:,}, results changed: {self.changes.changed:,}"
        done = f"published {self.run_id} in {self.seconds:.1f} s: {changed}" if self.published else "nothing to publish"
        return {"text/plain": "\n".join([done, *self.warnings])}

    @property
    def run_id(self) -> str:
        return self.plan.run_id

    @property
    def tiles(self) -> int:
        """How many hour tiles it recomputed."""
        return self.plan.tiles + (self.first.tiles if self.first else 0)

    @functools.cached_property
    def revised(self) -> pa.Table:
        """The rows added, changed and removed, with the columns of the table `revisions`. Raises StoreError."""
        nothing = pa.Table.from_batches([], REVISIONS).select(REVISED)
        return pa.concat_tables([nothing, *self.changes.revised], promote_options="permissive")

    def followed_by(self, second: Outcome) -> Outcome:
        """What this run and the one that followed it at once did together."""
        if not second.published:
            return self
        return replace(
            second,
            first=self,
            newly_bad=pa.concat_tables([self.newly_bad, second.newly_bad]),
            newly_late=self.newly_late + second.newly_late,
            conflicts=self.conflicts + second.conflicts,
            changes=replace(self.changes.and_then(second.changes), count=second.changes.count),
        )


def nothing_counts_warnings(config: Config, days: pa.Table, audit: pa.Table) -> tuple[str, ...]:
    """Warnings if no prediction is left or none has a label, by all day tiles: which keys of the config to check."""
    tiles = days.filter(pc.equal(days.column("span"), pa.scalar("tile")))
    predictions, labelled = (pc.sum(tiles.column(name)).as_py() for name in ("predictions", "labelled"))
    warnings = []
    for key, source in config.sources.items():
        if source.where is not None and not (predictions if key == "predictions" else labelled):
            what = "no prediction is left" if key == "predictions" else "nothing is labelled"
            warnings.append(f"{what}: check `{key}.where`, {source.where}")
    orphans = audit.filter(pc.equal(audit.column("check"), pa.scalar("orphan")))
    if predictions and not labelled and len(orphans):
        count, samples = pc.sum(orphans.column("count")).as_py(), orphans.column("samples")[0].as_py()
        example = f", for example {samples[0]}" if samples else ""
        warnings.append(
            f"nothing is labelled: {count:,} rows of feedback have the id of no prediction near them in "
            f"time{example}; check `predictions.id` and `feedback.id`, and the times of both logs"
        )
    return tuple(warnings)


def nothing_done(plan: Plan, inputs: Inputs, warnings: tuple[str, ...]) -> Outcome:
    """The outcome of a run before its first stage."""
    # Not `AUDIT.empty_table()`, which imports pandas.
    audit = pa.Table.from_batches([], AUDIT)
    return Outcome(plan=plan, audit=audit, newly_bad=audit, warnings=warnings, changes=Difference(), inputs=inputs)


def failing_slis(slis: Sequence[Sli], min_support: int, windows: Counter[tuple[str, str]]) -> tuple[str, ...]:
    """`name: reason (n windows)` for each of the user's own SLIs that raised, failed or returned no number.

    `windows` has how many windows of each SLI have each reason.
    """
    failing = []
    for sli in slis:
        if "sli" in sli.declaration:
            continue
        reasons = Counter({reason: count for (name, reason), count in windows.items() if name == sli.name})
        expected = (NULL, INFINITE) if "states" in sli.declaration else ()
        for reason in (NO_LABELS, NO_REFERENCE, too_few(min_support), *expected):
            reasons.pop(reason, None)
        failing += [f"{sli.name}: {reason} ({n} window{'s' * (n != 1)})" for reason, n in reasons.most_common(3)]
    return tuple(failing)
