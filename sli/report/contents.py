"""What the page shows of a model, gathered from one publication: its standing, its series, its judgements, its changes.

Limit: of a store with more than `BYTES` of series, those of many windows of the smaller slices are left out; the page
says so where they would be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sli.calendar.grain import Grain
from sli.config.model import Config
from sli.errors import ConfigError, StoreError
from sli.judging.explain import Explanation, explain
from sli.judging.standing import SliStanding, Standing, standing
from sli.report.changes import Changes, changes_of
from sli.report.choice import Slice, chosen_slices
from sli.report.history import History, history_of
from sli.report.outcomes import outcomes_of
from sli.report.snapshot import Snapshot

ATTEMPTS = 3
JUDGED = 8
"""How many SLIs the page judges: a judgement takes about a second."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the page shows."""

    config: Config
    standing: Standing
    explanations: Mapping[str, Explanation]
    """By SLI, of those that the page judges."""
    """From which day on each of them is worse over the whole, if the config has one."""
    slices: Sequence[Slice]
    """Those with history first."""
    grains: Sequence[Grain]
    history: History
    outcomes: dict[str, object] | ConfigError
    """When labels arrive and what the model predicts, or why there is no answer."""
    changes: Changes
    results: int
    """How many results are published."""


def gathered(config: Config, failure: str | None = None) -> Contents | None:
    """The contents of the page, or None before the first publication; `failure` is the error of the last run.

    If a run publishes meanwhile, all is gathered once more, so that no part contradicts another. Raises SliError.
    """
    for _ in range(ATTEMPTS):
        snapshot = Snapshot.newest(config)
        if snapshot is None:
            return None
        contents = _of_one_publication(config, snapshot, failure)
        after = Snapshot.newest(config)
        if after is not None and after.published == snapshot.published:
            return contents
    raise StoreError(
        "runs publish faster than the page can be made",
        where=config.store,
        todo="make it again when no run or backfill is under way",
        passes=True,
    )


def judged(standing: Standing) -> list[str]:
    """The SLIs whose change the page judges: those with an objective first, then those that surely changed."""

    def rank(one: SliStanding) -> tuple[bool, bool]:
        return one.objective is None, one.change is None or not one.change.told

    return [one.sli for one in sorted(standing.slis, key=rank)[:JUDGED]]


def _of_one_publication(config: Config, snapshot: Snapshot, failure: str | None) -> Contents:
    """The contents, if nothing is published meanwhile."""
    now = standing(config, failure=failure)
    names = [one.sli for one in now.slis]
    slices = chosen_slices(snapshot, config, now.slis[0].now.start.to_pydatetime())
    grains = [grain for grain in config.all_grains if grain.name in snapshot.published.grains]
    changes = changes_of(snapshot)
    return Contents(
        config=config,
        standing=now,
        explanations={name: explain(config, name) for name in judged(now)},
        slices=slices,
        grains=grains,
        history=history_of(snapshot, config, names, slices, grains, changes.restated),
        outcomes=outcomes_of(config, snapshot.published),
        changes=changes,
        results=sum(
            sum(snapshot.store.rows_by_day(snapshot.table, name).values()) for name in snapshot.published.grains
        ),
    )
