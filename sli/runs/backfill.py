"""Backfills: recompute an interval from the logs, final hours too, part by part; or fill the states that an SLI lacks.

Each part is a run with its own atomic commit, which also records how far the backfill has come; the same call after an
interruption continues from there. Limit: a window that is longer than a part changes with every part, so what the
backfill changed in all is read from the revisions afterwards.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sli.calendar.duration import DAY, Duration
from sli.calendar.interval import Interval, intersection, iso, moment
from sli.calendar.zone import Zone
from sli.config.arguments import When, duration_of, instant_of
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, check_known
from sli.matching.execute import one_cluster
from sli.planning.as_of import as_of_instant
from sli.planning.ledger import tiles_until, whole_tiles
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.planning.request import Backfill, Request
from sli.planning.stages import windows_resting_on
from sli.publishing.history import backfill_changes
from sli.publishing.rows import to_pandas
from sli.publishing.store import Store
from sli.runs.known import Progress
from sli.runs.outcome import Outcome
from sli.runs.preview import current_plan
from sli.runs.recompute import carry_out
from sli.slis import Sli
from sli.tiles.dry_run import check_code

if TYPE_CHECKING:
    import pandas as pd

PART_BYTES = 4 << 30
"""Bytes that a part reads, roughly, unless `chunk` sets its length: some minutes' work on two cores."""


@dataclass(frozen=True)
class BackfillPlan:
    """What a backfill will do."""

    backfill: Backfill
    resumed: bool
    """Whether it continues one that was interrupted."""
    parts: tuple[Interval, ...]
    """The parts that are left to do."""
    plan: Plan
    """The plan of all that is left, as if it were one part."""
    config: Config = field(repr=False)
    published: Published | None = field(repr=False)

    @functools.cached_property
    def windows(self) -> pd.DataFrame:
        """Each window to roll up, with the columns grain, window_start, window_end, slis (a tuple) and reason.

        Computed on first use: the backfill itself does not need them.
        """
        return _windows(self.config, self.plan, self.published)


@dataclass(frozen=True)
class BackfillOutcome:
    """What a backfill did."""

    backfill: Backfill
    resumed: bool
    runs: tuple[Outcome, ...]
    """One for each part."""
    seconds: float
    """Wall-clock time from the call to its end, with the start and end of the cluster."""
    store: Store = field(repr=False)

    @functools.cached_property
    def changes(self) -> pd.DataFrame:
        """Old and new value of every result that it changed, with the cause: its rows of the table `backfills`.

        Read on first use, so an error while reading does not make the caller repeat a backfill that is done.
        """
        return to_pandas(backfill_changes(self.store, self.store.published(), self.backfill.id))


def plan_backfill(
    config: str | Path | Config,
    *,
    start: When,
    end: When,
    sli: str | Sequence[str] = (),
    chunk: str | Duration | None = None,
    as_of: When = None,
    settings: Sequence[str] = (),
) -> BackfillPlan:
    """Return what `backfill` with the same arguments would do: its parts, and its windows with reasons.

    It writes nothing. Raises SliError.

    >>> import sli
    >>> plan = sli.plan_backfill(config, start="2024-01-15", end="2024-01-16", as_of="2024-01-20")
    >>> len(plan.parts), len(plan.windows)
    (1, 12)
    >>> list(plan.windows.columns)
    ['grain', 'window_start', 'window_end', 'slis', 'reason']
    """
    config = load_config(config, settings)
    wanted = as_of_instant(config.since_instant, config.zone, as_of)
    published = Store(config.store, config.storage).published()
    asked, resumed = _asked_backfill(config, published, wanted, as_of is not None, start, end, sli)
    plan = current_plan(config, Request(wanted, None, asked, asked.left))
    limits = tiles_until(config, plan.as_of)
    parts = _parts(config.zone, limits, asked, resumed, plan, _days_of_a_part(plan, chunk))
    return BackfillPlan(asked, resumed, tuple(parts), plan, config, published)


def backfill(
    config: str | Path | Config,
    *,
    start: When,
    end: When,
    sli: str | Sequence[str] = (),
    chunk: str | Duration | None = None,
    as_of: When = None,
    settings: Sequence[str] = (),
    progress: Progress | None = None,
    done: Callable[[int, int, Outcome], None] = lambda *_: None,
) -> BackfillOutcome:
    """Recompute the hours of `[start, end)`, final ones too; with `sli` only compute the states these SLIs lack there.

    It works in parts of whole days, and publishes each part. `chunk` is the length of a part, for example `30d`
    (default: by bytes). The same call after an interruption continues. `done` is called after each part with its
    number, the number of parts and the outcome of its run. Raises SliError.

    >>> import sli
    >>> outcome = sli.backfill(config, start="2024-01-15", end="2024-01-16", as_of="2024-01-20")
    >>> len(outcome.runs), len(outcome.changes)
    (1, 12)
    >>> sorted(set(outcome.changes.cause))
    ['first run']
    """
    began = time.monotonic()
    config = load_config(config, settings)
    check_code(config.declared, config.dask)
    planned = plan_backfill(config, start=start, end=end, sli=sli, chunk=chunk, as_of=as_of)
    reached, runs = _run_parts(config, planned, as_of, progress, done)
    store = Store(config.store, config.storage)
    return BackfillOutcome(reached, planned.resumed, tuple(runs), time.monotonic() - began, store)


@one_cluster()
def _run_parts(
    config: Config,
    planned: BackfillPlan,
    as_of: When,
    progress: Progress | None,
    done: Callable[[int, int, Outcome], None],
) -> tuple[Backfill, list[Outcome]]:
    """Run each part; return how far the backfill has come, and the outcomes. The decorator closes the cluster."""
    reached, runs = planned.backfill, []
    for number, part in enumerate(planned.parts, 1):
        # As known now, not when the first part began.
        request = Request(
            as_of_instant(config.since_instant, config.zone, as_of),
            None,
            reached,
            part,
            continues=planned.resumed or number > 1,
        )
        runs.append(carry_out(config, request, progress))
        reached = request.backfill_after or reached
        done(number, len(planned.parts), runs[-1])
    return reached, runs


def _parts(zone: Zone, limits: Interval, asked: Backfill, resumed: bool, plan: Plan, days: int) -> list[Interval]:
    """The parts in which there is something to do; the last one reaches the end, and so completes the backfill."""
    parts = asked.parts(zone, days, limits)
    if asked.slis:
        parts = [part for part in parts if intersection([part], plan.tiles_to_fill)]
        if not parts and (resumed or plan.new_series):
            parts = [asked.left]
    return [*parts[:-1], *(Interval(part.start, asked.interval.end) for part in parts[-1:])]


def _asked_backfill(
    config: Config,
    published: Published | None,
    wanted: int,
    as_of_given: bool,
    start: When,
    end: When,
    sli: str | Sequence[str],
) -> tuple[Backfill, bool]:
    """The backfill that the arguments ask for, and whether it is one that was interrupted. Raises ConfigError."""
    if start is None or end is None:
        raise ConfigError("a backfill needs both a start and an end", where="start, end")
    low, high = instant_of(config.zone, "start", start), instant_of(config.zone, "end", end)
    if low >= high:
        found = f"{iso(low)} .. {iso(high)}"
        raise ConfigError("the end must come after the start", where="start, end", found=found)
    whole = tiles_until(config, wanted)
    interval = whole_tiles(Interval(low, high), config.tile)
    if not interval.meets(whole):
        raise ConfigError(
            "the interval holds no hours that could be recomputed",
            where="start, end",
            expected=f"an interval between since ({iso(config.since_instant)}) and as_of ({iso(wanted)})",
            found=str(interval),
        )
    slis = tuple(sorted({sli} if isinstance(sli, str) else set(sli)))
    current = published is not None and published.base == config.base
    _check_slis(config.declared, slis, current)
    for unfinished in published.backfills if published is not None and current else ():
        if (unfinished.interval, unfinished.slis) == (interval, slis):
            return unfinished, True
    if published is not None and as_of_given and wanted < published.as_of:
        raise ConfigError(
            "as_of lies before what is published",
            where="as_of",
            expected=f"{iso(published.as_of)} or later",
            found=iso(wanted),
            todo="leave as_of out; `sli run --as-of` adds an older as_of to the history",
        )
    return Backfill.begin(interval, slis, config.base, published.sequence if published is not None else 0), False


def _check_slis(declared: Sequence[Sli], slis: tuple[str, ...], current: bool) -> None:
    names = [sli.name for sli in declared]
    for name in slis:
        check_known(f"there is no SLI '{name}' in the config", name, names, where="sli")
    if slis and not current:
        raise ConfigError(
            "no hours are published yet to which a single SLI could be added",
            where="sli",
            found="nothing is published under this config",
            todo="leave the SLI out, or `sli run CONFIG` first",
        )


def _days_of_a_part(plan: Plan, chunk: str | Duration | None) -> int:
    """The length of a part in days. Raises ConfigError."""
    if chunk is None:
        to_do = intersection([*plan.to_recompute, *plan.tiles_to_fill], plan.with_predictions)
        micros = sum(interval.end - interval.start for interval in to_do)
        return max(1, int(micros / DAY * PART_BYTES / max(1, plan.bytes)) + 1)
    length = duration_of("chunk", chunk)
    if not length.days:
        raise ConfigError(
            "a part has whole days", where="chunk", expected="whole days, for example 30d", found=length.text
        )
    return length.days


def _windows(config: Config, plan: Plan, published: Published | None) -> pd.DataFrame:
    """Each window that a plan rolls up because of its interval, with the SLIs and the reason."""
    import pandas as pd

    newest = _newest(config.since_instant, config.zone, plan, published)
    rows: list[tuple[object, ...]] = []
    for grain in config.all_grains:
        starts, ends = grain.windows(config.zone, config.since_instant, newest)
        slis_by_windows: dict[tuple[bool, ...], list[str]] = {}
        for sli in config.declared:
            group = plan.roll_up.group_of[sli.name]
            hit = plan.roll_up.rolls_up(config.zone, group, newest, grain, starts, ends)
            changed = plan.roll_up.changed_for(group)
            hit &= windows_resting_on(config.zone, grain, starts, ends, changed, sli.reference)
            slis_by_windows.setdefault(tuple(hit.tolist()), []).append(sli.name)
        for hits, slis in slis_by_windows.items():
            rows += [
                (grain.name, moment(start), moment(end), tuple(slis), _reason(plan, Interval(start, end)))
                for start, end, is_hit in zip(starts.tolist(), ends.tolist(), hits, strict=True)
                if is_hit
            ]
    return pd.DataFrame(rows, columns=["grain", "window_start", "window_end", "slis", "reason"])


def _reason(plan: Plan, window: Interval) -> str:
    """Why a window is rolled up."""

    def holds(intervals: Iterable[Interval]) -> bool:
        return bool(intersection([window], intervals))

    if not holds(plan.to_recompute):
        return "new definition"
    stale = {cause.what for cause in plan.causes if cause.what != "asked" and holds(cause.intervals)}
    asked = "asked" if intersection([window], plan.to_recompute) == [window] else "holds asked hours"
    return ", ".join([asked, *sorted(stale)])


def _newest(since: int, zone: Zone, plan: Plan, published: Published | None) -> int:
    """End of the newest local hour after the backfill."""
    asked = intersection(plan.with_predictions, plan.to_recompute)
    before = published.newest if published is not None else since
    if not asked or asked[-1].end <= before:
        return before
    return int(zone.hours(asked[-1].end - 1, asked[-1].end)[-1])
