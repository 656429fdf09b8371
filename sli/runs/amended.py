"""The stage of a run that amends hour tiles by new rows, some days at a time.

While the tiles of some days are written, the next are read and changed. Limit: the tiles of two days are in memory, and
so is what the new rows contribute to all days.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import BEGINNING, Interval, intersection, meets_any, union
from sli.engine.ahead import computed_ahead
from sli.engine.connection import within_memory
from sli.errors import OutOfMemory
from sli.matching.spec import Spec
from sli.planning.late_feedback import Horizon
from sli.planning.plan import Plan
from sli.planning.stages import Amend
from sli.runs.known import Known, Work, step
from sli.runs.on_disk import DayTiles, put_on_disk
from sli.slis.states import CannotAmend, with_states
from sli.tiles.amend import Contributions, contributions
from sli.tiles.audit_delta import amend_audit, audit_rows, changed_audit
from sli.tiles.delta import changed_tiles, update_tiles
from sli.tiles.replace import CELLS

LOG = logging.getLogger("sli")


def amend_tiles(work: Work, stage: Amend, known: Known) -> Known:
    """Change the tiles only by the new rows. Raises CannotAmend if tiles cannot be amended."""
    try:
        with within_memory("new rows"):
            return _amend_by_new_rows(work, stage, known)
    except OutOfMemory as error:
        LOG.warning("amending needs more than `memory:`, so its hours are recomputed (%s)", error.found)
        raise CannotAmend from error


def _amend_by_new_rows(work: Work, stage: Amend, known: Known) -> Known:
    config, plan = work.config, known.plan
    # In this process even if the config asks for a cluster: starting one would take longer.
    spec = Spec.of(config, plan.as_of, config.states, plan.extent.slice_sets, config.parallel)
    pairs = contributions(stage.new_rows, spec, work.ids.both)
    work.progress("matching", 1, 1)
    rows = changed_tiles(pairs.before, pairs.after, config.states)
    audit_days = changed_audit(*(audit_rows(tiles, []) for tiles in (pairs.before, pairs.after)))
    # A tile that was held before never counted some of the rows, so they cannot be subtracted from it.
    unheld = changed_audit(*(audit_rows(tiles, plan.held) for tiles in (pairs.before, pairs.after)))
    if intersection(_tiles_at(config.tile, rows), plan.held) or audit_days != unheld:
        raise CannotAmend
    amending = _Amending(work, plan, pairs, rows)
    touched = {*map(str, rows.column("day").to_pylist()), *audit_days.values()}
    with step(work.progress, "amending hours"):
        known = put_on_disk(work, known, computed_ahead(amending.days(touched)), touched)
    rows = rows.filter(pa.array(~_lie_in(rows, amending.held)))
    plan = plan.after_tiles(_tiles_at(config.tile, rows), union(amending.held))
    changed = known.changed.also(rows.select(CELLS.names).cast(CELLS), [])
    return replace(known, outcome=replace(known.outcome, plan=plan), changed=changed)


@dataclass
class _Amending:
    """Amends the tiles of `rows`, and their audit."""

    work: Work
    plan: Plan
    pairs: Contributions
    rows: pa.Table
    held: list[Interval] = field(default_factory=list)
    """Final tiles that would change: they stay as they are. It is complete once all days are amended."""

    def days(self, touched: Collection[str]) -> Iterator[DayTiles]:
        """The amended tiles of these days, some days at a time. Raises CannotAmend."""
        for days, _ in self.work.together(self.plan, touched, {}):
            stored = with_states(self.work.hours_of(self.plan, set(days)), self.work.config.states)
            rows = self.rows.filter(pc.field("day").isin(pa.array(days, pa.string())))
            tiles = self._amended(days, stored, rows, [])
            if held := self._changed_final(stored, tiles, rows):
                self.held += held
                tiles = self._amended(days, stored, rows.filter(pa.array(~_lie_in(rows, held))), held)
            yield days, tiles

    def _amended(self, days: Collection[str], stored: pa.Table, rows: pa.Table, held: Sequence[Interval]) -> pa.Table:
        before, after = (audit_rows(tiles, held) for tiles in (self.pairs.before, self.pairs.after))
        audited = {key: day for key, day in changed_audit(before, after).items() if day in days}
        audit = amend_audit(audit_rows(stored, (), audited), before, after, audited)
        return update_tiles(self.work.config, stored, self.pairs.before, self.pairs.after, rows, audit, audited)

    def _changed_final(self, stored: pa.Table, tiles: pa.Table, rows: pa.Table) -> list[Interval]:
        """The final ones among the tiles of `rows` that changed."""
        config, published = self.work.config, self.work.transaction.published
        assert published is not None
        final = [Interval(BEGINNING, Horizon.of(config).final_before(published.as_of, config.tile))]
        if not _lie_in(rows, final).any():
            return []
        # A changed pair may leave its tile as it was, for example if another pair has the minimum.
        before, after = (some.filter(pa.array(_lie_in(some, final))) for some in (stored, tiles))
        return _tiles_at(config.tile, changed_tiles(before, after, config.states))


def _lie_in(rows: pa.Table, tiles: Iterable[Interval]) -> np.ndarray:
    """Whether each row belongs to one of these tiles."""
    starts = rows.column("start").cast(pa.int64()).to_numpy()
    return meets_any(starts, starts + 1, tiles)


def _tiles_at(tile: int, rows: pa.Table) -> list[Interval]:
    starts = np.unique(rows.column("start").cast(pa.int64()).to_numpy()).tolist()
    return union(Interval(start, start + tile) for start in starts)
