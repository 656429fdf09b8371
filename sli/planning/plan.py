"""The plan as data: what a run does and why. `sli plan` prints it, and `run` and `backfill` execute the same object.

Limit: a plan says which results are computed, not which of them change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain

from sli.calendar.interval import BEGINNING, END, Interval, difference, intersection, iso, union
from sli.logs.files import Inputs
from sli.masking import masked
from sli.planning.changes import Cause, NewRows
from sli.planning.costs import Costs
from sli.planning.extent import Extent
from sli.planning.formats import Migration
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Needs, lacks
from sli.planning.published import Listed
from sli.planning.request import Backfill, Request
from sli.planning.stages import Amend, Fill, Recompute, RollUp, Stage, Write, plain
from sli.planning.tasks import TaskSet


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do and why. Empty when everything published is up to date."""

    request: Request
    causes: tuple[Cause, ...]
    stages: tuple[Stage, ...]
    """What the run does, in this order."""
    left: Needs
    """What tiles still need after the run: windows that rest on tiles to recompute or that lack a state wait."""
    outcomes: str
    """The id of the state of outcomes. Tiles that an older `sli` wrote may lack it, and no window waits for them."""
    declared: Extent
    """What the config asks for."""
    extent: Extent
    """What is published once the run is: as declared, but slice sets may wait for a run that reaches every tile."""
    published: Extent
    """What was published before; nothing if as_of is older."""
    backfills: tuple[Backfill, ...]
    """The backfills that are unfinished once this run is published."""
    backfills_progressed: bool
    """Whether `backfills` differs from the published ones."""
    looked_up: tuple[Interval, ...]
    """Tiles in which predictions came, went or changed, or may count otherwise than published: their ids are looked up
    in other tiles."""
    migration: Migration | None
    """What the run does to a store of an older format."""
    tile: int
    """Length of a tile in microseconds."""
    with_predictions: tuple[Interval, ...]
    """Tiles that may hold predictions, by the files that are listed."""
    run_id: str
    rows_forever: int | None = None
    """How many rows there are if ids are looked up among all of them, however old; None: only among rows near."""
    since: int
    """Folders that do not matter from this week on are not listed; BEGINNING: all are."""
    listed: Listed
    """What is known of all files once the run is."""
    inputs: Inputs = field(repr=False, compare=False)
    """The files there are now."""
    costs: Costs | None = None
    """What amending and recomputing cost, if both are possible: a run takes the cheaper way."""
    tables: tuple[str, ...] = ()
    """The tables that name the files of the logs, for example `predictions: Delta table, version 12, 34 files`."""

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What a notebook shows; `sli plan` prints more."""
        because = ", ".join(dict.fromkeys(cause.what for cause in self.causes))
        work = f"hours to recompute: {self.tiles:,} of {self.tiles_total:,}" + f"; {because}" * bool(because)
        return {"text/plain": f"plan as of {iso(self.as_of)}: {'nothing to do' if self.empty else work}"}

    @property
    def as_of(self) -> int:
        return self.request.as_of

    @property
    def empty(self) -> bool:
        return not (
            self.migration
            or self.backfills_progressed
            or not isinstance(self.stages[0], RollUp)
            or self.roll_up.newly_final
            or self.new
            or self.gone
            or self.files_changed
        )

    @property
    def roll_up(self) -> RollUp:
        return next(stage for stage in self.stages if isinstance(stage, RollUp))

    @property
    def write(self) -> Write:
        return next(stage for stage in self.stages if isinstance(stage, Write))

    @property
    def older(self) -> bool:
        """Whether as_of lies before the published one: then only the history gains rows."""
        return "tiles" not in self.write.tables

    @property
    def from_scratch(self) -> bool:
        """Whether the run builds on nothing that is published."""
        return self.write.replaces_all

    @property
    def new_rows(self) -> NewRows | None:
        """The new rows, if tiles are amended by them; None: tiles are recomputed from all their rows."""
        return next((stage.new_rows for stage in self.stages if isinstance(stage, Amend)), None)

    @property
    def task_sets(self) -> tuple[TaskSet, ...]:
        """The task sets of all stages."""
        return tuple(stage.task_set for stage in self.stages if isinstance(stage, Recompute | Fill))

    @property
    def intervals(self) -> list[Interval]:
        """Where tiles are recomputed, confirmed or filled, and where tasks count unmatched feedback."""
        found: list[Interval] = []
        for stage in self.stages:
            if isinstance(stage, Recompute):
                found += [*stage.tiles, *stage.confirm, *stage.feedback_tiles]
            if isinstance(stage, Fill):
                found += stage.tiles
        for task_set in self.task_sets:
            for task in task_set.tasks:
                found += [*task.prediction_tiles, *task.feedback_tiles]
        return union(found)

    @property
    def bytes(self) -> int:
        """Bytes to read, roughly."""
        tasks = (task for task_set in self.task_sets for task in task_set.tasks)
        files = {file.path: file for task in tasks for file in task.predictions + task.feedback}
        amending = self.new_rows.bytes if self.new_rows else 0
        return sum(int(file.row_bytes * file.rows) for file in files.values()) + amending

    def after_tiles(self, changed: Iterable[Interval], held: Iterable[Interval]) -> Plan:
        """The plan once tiles are computed: some of them changed, and some final ones turned out to be held."""
        tiles = tuple(union(changed))
        stages = tuple(replace(stage, changed=tiles) if isinstance(stage, RollUp) else stage for stage in self.stages)
        return replace(self, stages=stages, left=self.left.add(HELD, held))

    @property
    def new(self) -> Extent:
        """What this run publishes for the first time."""
        return self.extent - self.published

    @property
    def gone(self) -> Extent:
        """What is published and no longer declared."""
        return self.published - self.declared

    @property
    def new_series(self) -> tuple[str, ...]:
        """SLIs whose every window is rolled up."""
        return self.extent.slis_in(self.new)

    @property
    def needs_second(self) -> bool:
        """Whether new states or slices wait only because this run confirms final tiles: a second run adds them."""
        confirmed = difference(self.to_confirm, self.held)
        states = (*self.lacking.values(), self.outcomes_lacking)
        slices = (self.declared - self.extent).slice_sets if not self.held else ()
        reaches_all = self.request.part is None and self.request.look_back is None
        return reaches_all and bool(confirmed) and bool(slices or any(intersection(t, confirmed) for t in states))

    @property
    def files_changed(self) -> int:
        """How many files are new, rewritten or removed."""
        return 0 if self.older else sum(len(cause.files) for cause in self.causes)

    @property
    def to_recompute(self) -> tuple[Interval, ...]:
        """Tiles of predictions."""
        return next((stage.tiles for stage in self.stages if isinstance(stage, Recompute)), self.roll_up.changed)

    @property
    def to_confirm(self) -> tuple[Interval, ...]:
        """Final tiles that input may have come for: they are computed, and held if they would change."""
        return next((stage.confirm for stage in self.stages if isinstance(stage, Recompute | Amend)), ())

    @property
    def held(self) -> tuple[Interval, ...]:
        """Final tiles that input would change: they wait for a backfill."""
        return self.left.of(HELD)

    @property
    def to_fill(self) -> dict[str, tuple[Interval, ...]]:
        """For each SLI the tiles that gain its states."""
        groups = self.roll_up.group_of
        return {name: groups[name].filled for name in self.declared.series if groups[name].filled}

    @property
    def lacking(self) -> dict[str, tuple[Interval, ...]]:
        """For each SLI the tiles that still lack its states: its windows that rest on them wait."""
        groups, waiting = self.roll_up.group_of, self.left.of(RECOMPUTE)
        lacking = {name: tuple(difference(groups[name].waits_for, waiting)) for name in self.declared.series}
        return {name: tiles for name, tiles in lacking.items() if tiles}

    @property
    def outcomes_to_fill(self) -> tuple[Interval, ...]:
        """The tiles that gain the state of outcomes."""
        fills = [stage for stage in self.stages if isinstance(stage, Fill)]
        # New slices of a tile have all states.
        states = [stage for stage in fills if stage.task_set.slice_sets != self.new.slice_sets]
        return tuple(union(tile for stage in states if self.outcomes in stage.task_set.states for tile in stage.tiles))

    @property
    def outcomes_lacking(self) -> tuple[Interval, ...]:
        """The tiles that still lack the state of outcomes."""
        return self.left.of(lacks(self.outcomes))

    @property
    def tiles_to_fill(self) -> tuple[Interval, ...]:
        """Tiles that gain a state."""
        return tuple(union([*chain(*self.to_fill.values()), *self.outcomes_to_fill]))

    @property
    def tiles(self) -> int:
        """How many tiles that may hold predictions are recomputed, or gain a state."""
        worked = intersection([*self.to_recompute, *self.tiles_to_fill], self.with_predictions)
        return sum((i.end - i.start) // self.tile for i in worked)

    @property
    def task_count(self) -> int:
        """How many tasks join rows."""
        return sum(task_set.task_count for task_set in self.task_sets)

    @property
    def tiles_total(self) -> int:
        """How many tiles may hold predictions."""
        return self.listed.tiles

    @property
    def reads_from(self) -> int:
        """No task reads rows before this instant."""
        tasks = (task for task_set in self.task_sets for task in task_set.tasks)
        return min(
            (times.start for task in tasks for times in (task.prediction_times, task.feedback_times)), default=END
        )

    def to_dict(self) -> dict[str, object]:
        """The plan as plain values, instants as ISO 8601."""
        return {
            "run_id": self.run_id,
            "as_of": iso(self.as_of),
            "asked": plain(self.request.part),
            "backfill": self.request.backfill.id if self.request.backfill else None,
            "migration": self.migration.to_dict() if self.migration else None,
            "causes": [
                {"what": c.what, "files": [masked(file) for file in c.files], "intervals": plain(c.intervals)}
                for c in self.causes
            ],
            "tables": [masked(table) for table in self.tables],
            "listed_since": iso(self.since) if self.since > BEGINNING else None,
            "tiles": self.tiles,
            "tiles_total": self.tiles_total,
            "recompute": plain(self.to_recompute),
            "check": plain(self.to_confirm),
            "new_series": list(self.new_series),
            "gone_series": [
                *self.gone.series.values(),
                *self.gone.grains,
                *(",".join(columns) for columns in self.gone.slice_sets),
            ],
            "held": plain(self.held),
            "pending": plain(self.left.of(RECOMPUTE)),
            "unchecked": plain(self.left.of(CONFIRM)),
            "filled": {name: plain(tiles) for name, tiles in self.to_fill.items()},
            "lacking": {name: plain(tiles) for name, tiles in self.lacking.items()},
            "outcomes_filled": plain(self.outcomes_to_fill),
            "outcomes_lacking": plain(self.outcomes_lacking),
            "tasks": self.task_count,
            "bytes": self.bytes,
            "ids_looked_up_in_all_rows": self.rows_forever,
            "costs": self.costs and self.costs.to_dict(),
            "jobs": [task_set.to_dict() for task_set in self.task_sets],
            "stages": plain(self.stages),
        }
