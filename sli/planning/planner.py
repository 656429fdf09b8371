"""Makes the plan: a pure function from the config, the files, the published state and the request to a `Plan`.

It reads no rows and writes nothing. Limit: only the rows show duplicate predictions; a run that finds some plans again
with the tiles that they change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sli.calendar.interval import ALWAYS, BEGINNING, Interval, difference, intersection, iso, union
from sli.config.model import Config
from sli.errors import StoreError
from sli.logs.dated import week_text
from sli.logs.files import Inputs
from sli.planning.changes import Cause, NewRows, causes_of, new_rows_of
from sli.planning.costs import Costs, amounts
from sli.planning.extent import Extent
from sli.planning.formats import Migration
from sli.planning.late_feedback import Horizon
from sli.planning.ledger import Ledger, ledger_of, tiles_with_predictions, whole_tiles
from sli.planning.listing import NeedsOlder, digest_of, week_digests
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Needs, lacks, lacks_any
from sli.planning.plan import Plan
from sli.planning.published import Listed, Published
from sli.planning.reach import Reach
from sli.planning.request import Backfill, Request
from sli.planning.stages import Amend, Fill, Group, Recompute, RollUp, Write
from sli.planning.tasks import FACTOR, TaskSet, task_sets
from sli.slices import SliceBy
from sli.slis import Sli
from sli.slis.states import integers


@dataclass(frozen=True)
class Approach:
    """How to do the work, after earlier attempts failed: may tiles be amended, and into how many is each task split?"""

    amend: bool = True
    split: int = 1


def plan(
    config: Config,
    inputs: Inputs,
    published: Published | None,
    seen: Inputs,
    request: Request,
    approach: Approach = Approach(),
    moved: Sequence[Interval] = (),
) -> Plan:
    """Decide what to recompute. `inputs` are the files there are, `seen` those that the published run saw.

    `moved`: tiles with predictions that win or lose to rows in other tiles, and did not when they were published.
    Raises StoreError if the as_of is older than published and the store must be migrated first, and NeedsOlder if tasks
    need rows of files that are not listed.
    """
    if published is not None:
        request = request.not_before(published.as_of)
    made = _Planner(config, inputs, published, seen, request, approach, moved).plan()
    if made.reads_from < inputs.since:
        raise NeedsOlder(made.reads_from)
    return made


@dataclass(frozen=True)
class _Planner:
    """Computes the parts of a plan, each once, from the parts before it."""

    config: Config
    inputs: Inputs
    published: Published | None
    seen: Inputs
    request: Request
    approach: Approach
    moved: Sequence[Interval]

    def plan(self) -> Plan:
        config, basis, ledger, request = self.config, self.basis, self.ledger, self.request
        backfills = _backfills(config.declared, basis, request)
        recomputed = ledger.does.of(RECOMPUTE)
        asked = [Cause("asked", recomputed)] if request.part and recomputed else []
        moved = [Cause("duplicate predictions elsewhere", tuple(self.moved))] if self.moved else []
        return Plan(
            request=request,
            causes=(*self.causes, *asked, *moved),
            stages=(*self.tile_stages, self.roll_up, Write(self.tables, replaces_all=basis is None)),
            left=ledger.left,
            outcomes=config.outcomes.state.id,
            declared=Extent.declared(config),
            extent=self.extent,
            published=self.published_extent,
            backfills=backfills,
            backfills_progressed=backfills != (basis.backfills if basis else ()),
            looked_up=tuple(self.looked_up),
            migration=self.migration,
            tile=config.tile,
            with_predictions=tuple(self.with_predictions),
            run_id=_run_id(config, self.listed, request),
            rows_forever=self.rows_forever,
            costs=self.costs,
            since=self.inputs.since,
            listed=self.listed,
            inputs=self.inputs,
            tables=self.inputs.tables,
        )

    @cached_property
    def older(self) -> bool:
        return self.published is not None and self.request.as_of < self.published.as_of

    @cached_property
    def basis(self) -> Published | None:
        """The published run to build on; None: everything is computed from scratch."""
        published = self.published
        if published is None or self.older or published.outdated or published.base != self.config.base:
            return None
        return published

    @cached_property
    def causes(self) -> list[Cause]:
        return causes_of(self.inputs, self.basis, self.seen, self.request.as_of, self.published)

    @cached_property
    def with_predictions(self) -> list[Interval]:
        return tiles_with_predictions(self.config, self.inputs, self.request.as_of)

    @cached_property
    def ledger(self) -> Ledger:
        return ledger_of(self.config, self.basis, self.causes, self.with_predictions, self.request, self.moved)

    @cached_property
    def extent(self) -> Extent:
        """What the run publishes. New slice sets come with a run that reaches all tiles and holds or confirms none."""
        declared, basis, request = Extent.declared(self.config), self.basis, self.request
        if basis is None:
            return declared
        # The new slices of a held tile would count rows that its other slices do not count.
        held = basis.needs.of(HELD) or self.ledger.does.of(CONFIRM)
        if request.part is None and request.look_back is None and not held:
            return declared
        known = tuple(columns for columns in declared.slice_sets if columns in basis.slice_sets)
        return replace(declared, slice_sets=known or declared.slice_sets)

    @cached_property
    def published_extent(self) -> Extent:
        """What is published; nothing if as_of is older."""
        return Extent() if self.published is None or self.older else self.published.extent

    @cached_property
    def new_slice_sets(self) -> tuple[SliceBy, ...]:
        """Slice sets that stored tiles lack."""
        return (self.extent - self.basis.extent).slice_sets if self.basis else ()

    @cached_property
    def amendable(self) -> NewRows | None:
        """The new rows, if amending tiles by them would be all there is to do and they fit one task."""
        basis, request, config = self.basis, self.request, self.config
        if not self.approach.amend or self.moved or self.new_slice_sets or self.looks_all_up:
            return None
        if basis is None or request.part is not None or request.look_back is not None:
            return None
        # A Python function, or a query of a ranking, sees several pairs at once.
        if not all(state.merges and state.unit == "pair" for state in config.states.values()):
            return None
        if basis.needs.of(RECOMPUTE, CONFIRM) or self.ledger.does.states or not set(config.states) <= set(basis.states):
            return None
        # Held tiles do not count some of the rows that came for them, and a tile may lack a state.
        incomplete = basis.needs.of(HELD, *map(lacks, config.states))
        if intersection(incomplete, self.ledger.does.of(RECOMPUTE, CONFIRM)):
            return None
        rows = new_rows_of(self.inputs, basis, self.seen, self.causes, request.as_of)
        return rows if rows is not None and rows.bytes * FACTOR <= config.task_memory else None

    @cached_property
    def costs(self) -> Costs | None:
        """What amending and recomputing cost, if both are possible; None: nothing is to be chosen."""
        if self.amendable is None:
            return None
        stale = self.ledger.does.of(RECOMPUTE, CONFIRM)
        return amounts(self.config, self.inputs, self.causes, self.amendable, stale).costs

    @property
    def new_rows(self) -> NewRows | None:
        """The new rows, if tiles are amended by them."""
        return self.amendable if self.costs is not None and self.costs.amends else None

    @cached_property
    def listed(self) -> Listed:
        """What is known of all files: of those that are not listed what the published run knew."""
        config, inputs, published = self.config, self.inputs, self.published
        weeks, now = week_digests(config, inputs), _amounts(inputs, self.with_predictions, config.tile)
        if published is None or inputs.since == BEGINNING:
            return Listed(at=self.request.as_of, weeks=weeks, **now)
        before, first = published.listed, week_text(inputs.since)
        then = _amounts(self.seen, tiles_with_predictions(config, self.seen, published.as_of), config.tile)
        unlisted = {week: digest for week, digest in before.weeks.items() if week < first}
        all_files = {name: getattr(before, name) - then[name] + amount for name, amount in now.items()}
        return Listed(at=before.at, weeks={**unlisted, **weeks}, **all_files)

    @property
    def tile_stages(self) -> Iterator[Recompute | Amend | Fill]:
        """Tiles are recomputed or amended; then some are filled with states, and then others with slices."""
        does, left, feedback = self.ledger.does, self.ledger.left, self.ledger.feedback_tiles
        tiles, confirm = does.of(RECOMPUTE), does.of(CONFIRM)
        if self.new_rows is not None:
            if tiles or confirm or feedback or any(cause.files for cause in self.causes):
                yield Amend(tiles, confirm, self.new_rows)
        else:
            for task_set in self._task_sets(does.of(RECOMPUTE, CONFIRM), self.extent.slice_sets, feedback=feedback):
                yield Recompute(tiles=tiles, confirm=confirm, feedback_tiles=tuple(feedback), task_set=task_set)
        old_slice_sets = tuple(columns for columns in self.extent.slice_sets if columns not in self.new_slice_sets)
        for states, lacking in _states_by_tiles(self.config.states, does):
            for task_set in self._task_sets(lacking, old_slice_sets, states):
                yield Fill(lacking, task_set)
        rest = difference(self.with_predictions, [*tiles, *left.of(RECOMPUTE)])
        for task_set in self._task_sets(rest, self.new_slice_sets):
            yield Fill(tuple(rest), task_set)

    @property
    def roll_up(self) -> RollUp:
        """The SLIs of each group have the same windows to roll up."""
        does, left, new = self.ledger.does, self.ledger.left, self.extent - self.published_extent
        groups: dict[Group, list[str]] = {}
        for sli in self.config.declared:
            group = Group(
                slis=(),
                everywhere=self.basis is None or sli.name in self.extent.slis_in(new),
                filled=does.of(*lacks_any(sli)),
                waits_for=left.of(RECOMPUTE, *lacks_any(sli)),
                reference=sli.reference,
            )
            groups.setdefault(group, []).append(sli.name)
        return RollUp(
            groups=tuple(replace(group, slis=tuple(slis)) for group, slis in groups.items()),
            changed=does.of(RECOMPUTE),
            new_grains=new.grains,
            newly_final=_newly_final(self.config, self.basis, self.request.as_of),
        )

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that the run writes; of an older as_of only the history. A run from scratch leaves out the ids."""
        history = ("revisions", "runs", "results")
        if self.older:
            return history
        return ("tiles", "days", *(["keys"] if self.basis else []), "inputs", "audit", *history)

    def _task_sets(
        self,
        tiles: Sequence[Interval],
        slice_sets: tuple[tuple[str, ...], ...],
        states: Iterable[str] | None = None,
        feedback: list[Interval] | None = None,
    ) -> list[TaskSet]:
        wanted = self.config.states if states is None else states
        return task_sets(self.config, self.inputs, list(tiles), feedback or [], wanted, slice_sets, self.approach.split)

    @property
    def looked_up(self) -> list[Interval]:
        """Tiles near which other predictions of an id may win, or other reasons hold, than the published tiles have."""
        basis, request = self.basis, self.request
        if basis is None or self.looks_all_up:
            return [ALWAYS]
        changed = (span for cause in self.causes if cause.what.endswith("predictions") for span in cause.intervals)
        # These tiles were not brought up to date when predictions changed. A backfill of hours trusts nothing.
        behind = basis.needs.of(RECOMPUTE, CONFIRM, HELD)
        doubtful = [ALWAYS] if request.part is not None and not request.slis else behind
        computed = intersection(self.ledger.does.of(RECOMPUTE, CONFIRM), doubtful)
        return union([*(whole_tiles(span, self.config.tile) for span in changed), *computed])

    @property
    def rows_forever(self) -> int | None:
        """How many rows of both logs ids are looked up among, if in all of history."""
        usable = self.inputs.files.take(self.inputs.files.usable)
        return int(integers(usable.rows.column("rows")).sum()) if Reach.of(self.config).endless else None

    @property
    def looks_all_up(self) -> bool:
        """Whether the published tiles may count other predictions of an id, wherever it lies."""
        return self.migration is not None and self.migration.looks_ids_up

    @property
    def migration(self) -> Migration | None:
        """What the run does to a store of an older format. Raises StoreError if it cannot do it."""
        migration = None if self.published is None else self.published.migration
        if migration is not None and migration.recompute and self.older:
            raise StoreError(
                "the store has an older format, which a run of an older as_of leaves as it is",
                found=f"format {migration.old}",
                todo="run without --as-of first, which migrates it",
            )
        return migration


def _states_by_tiles(states: Iterable[str], does: Needs) -> list[tuple[list[str], tuple[Interval, ...]]]:
    """Groups of states that the same tiles gain, each with these tiles."""
    groups: dict[tuple[Interval, ...], list[str]] = {}
    for state in states:
        if tiles := does.of(lacks(state)):
            groups.setdefault(tiles, []).append(state)
    return [(states, tiles) for tiles, states in groups.items()]


def _backfills(slis: Sequence[Sli], basis: Published | None, request: Request) -> tuple[Backfill, ...]:
    """The unfinished backfills after a run. A backfill of SLIs that are no longer declared is dropped."""
    backfills = {backfill.id: backfill for backfill in (basis.backfills if basis else ())}
    reached = request.backfill_after
    if reached is not None and (reached.id in backfills or not request.continues):
        backfills[reached.id] = max(reached, backfills.get(reached.id, reached), key=lambda backfill: backfill.done)
    declared = {sli.name for sli in slis}
    return tuple(
        backfill for backfill in backfills.values() if not backfill.finished and declared.issuperset(backfill.slis)
    )


def _newly_final(config: Config, basis: Published | None, as_of: int) -> Interval | None:
    """The interval of window ends that became final since the published run; None if no window did."""
    if basis is None or as_of <= basis.as_of:
        return None
    span = Horizon.of(config).newly_final(basis.as_of, as_of)
    for grain in config.all_grains:
        starts, ends = grain.windows(config.zone, config.since_instant, basis.newest)
        if len(starts) and bool(((ends >= span.start) & (ends < span.end)).any()):
            return span
    return None


def _count(tiles: Iterable[Interval], tile: int) -> int:
    return sum((interval.end - interval.start) // tile for interval in tiles)


def _amounts(inputs: Inputs, tiles: Iterable[Interval], tile: int) -> dict[str, int]:
    """How much there is of these files, by the fields of `Listed`."""
    return {"files": len(inputs.files), "rows": inputs.predictions.row_count, "tiles": _count(tiles, tile)}


def _run_id(config: Config, listed: Listed, request: Request) -> str:
    """The id of a run, a hash of its content: the same request for the same files has the same id."""
    content = [
        config.base,
        [config.definition(sli) for sli in config.declared],
        [sli.objective.text if sli.objective else None for sli in config.declared],
        [list(columns) for columns in config.slice_sets],
        [grain.name for grain in config.all_grains],
        digest_of(listed.weeks),
        [request.part.start, request.part.end] if request.part else None,
        request.backfill.id if request.backfill else None,
        request.look_back,
        request.as_of,
    ]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:10]
    return f"{iso(request.as_of).replace('-', '').replace(':', '')}-{digest}"
