"""Backfills: an explicit interval recomputed from the logs, chunk by chunk, final hours too; or one SLI's lack filled.

Each chunk is a run of its own with its own atomic commit, which also records how far the backfill has come; the same
question asked again goes on from there. Limit: while it works, windows longer than a chunk change more than once; what
it changed in all is read from the revisions afterwards.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sli.calendar.duration import DAY, Duration
from sli.calendar.interval import Interval, intersection, iso, moment
from sli.config.arguments import When, duration_of, instant_of
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, nearest
from sli.matching.execute import one_cluster
from sli.planning.affected import SliChange, affected, resting_on
from sli.planning.as_of import as_of_instant
from sli.planning.plan import Plan
from sli.planning.published import Published
from sli.planning.request import Backfill, Request
from sli.planning.stale import aligned, tiles_until
from sli.publishing.history import backfill_changes
from sli.publishing.rows import to_pandas
from sli.publishing.store import Store
from sli.runs.hour_tiles import Progress
from sli.runs.outcome import Outcome
from sli.runs.preview import current_plan
from sli.runs.recompute import carry_out
from sli.tiles.dry_run import check_code

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 4 << 30
"""Bytes a chunk reads at most, roughly, where its length is not given: some minutes' work on two cores."""


@dataclass(frozen=True)
class BackfillPlan:
    """What a backfill will do."""

    backfill: Backfill
    resumed: bool
    """Whether an interrupted one goes on."""
    chunks: tuple[Interval, ...]
    """What is left of it."""
    plan: Plan
    """All that is left as if it were one chunk."""
    config: Config = field(repr=False)
    published: Published | None = field(repr=False)

    @functools.cached_property
    def windows(self) -> pd.DataFrame:
        """Each window that will be rolled up: grain, window_start, window_end, slis (tuple), reason.

        Listed when they are asked for: to carry the plan out nobody needs them by name.
        """
        return _windows(self.config, self.plan, self.published)


@dataclass(frozen=True)
class BackfillOutcome:
    """What a backfill did."""

    backfill: Backfill
    resumed: bool
    runs: tuple[Outcome, ...]
    """One a chunk."""
    seconds: float
    """Wall-clock time from the call to its end, start and end of the cluster included."""
    store: Store = field(repr=False)

    @functools.cached_property
    def changes(self) -> pd.DataFrame:
        """Old and new value of every result it changed, with the cause: its rows in table `backfills`.

        Read when they are asked for, so that a backfill that is done is not done again where they cannot be read.
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
    """What `backfill` with the same arguments would do: chunks, windows, reasons. Writes nothing. Raises SliError."""
    config = load_config(config, settings)
    wanted = as_of_instant(config, as_of)
    published = Store(config.store, config.storage).published()
    begun, resumed = _begun(config, published, wanted, as_of is not None, start, end, sli)
    plan = current_plan(config, Request(wanted, None, begun, begun.left))
    chunks = _chunks(config, begun, resumed, plan, _days(plan, chunk))
    return BackfillPlan(begun, resumed, tuple(chunks), plan, config, published)


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
    """Recompute the hours of `[start, end)`, final ones too; with `sli` only compute what these SLIs lack there.

    Works in chunks of whole days (`chunk`, such as `30d`; default: by bytes), each published on its own; the same call
    after an interruption continues. `done` is called after each chunk with its number, the number of chunks and the
    run's outcome. Raises SliError.
    """
    began = time.monotonic()
    config = load_config(config, settings)
    check_code(config)
    chosen = plan_backfill(config, start=start, end=end, sli=sli, chunk=chunk, as_of=as_of)
    reached, runs = _carried_out(config, chosen, as_of, progress, done)
    store = Store(config.store, config.storage)
    return BackfillOutcome(reached, chosen.resumed, tuple(runs), time.monotonic() - began, store)


@one_cluster()
def _carried_out(
    config: Config,
    chosen: BackfillPlan,
    as_of: When,
    progress: Progress | None,
    done: Callable[[int, int, Outcome], None],
) -> tuple[Backfill, list[Outcome]]:
    """How far the backfill has come, and the run of each chunk. The cluster is closed when it returns."""
    reached, runs = chosen.backfill, []
    for number, each in enumerate(chosen.chunks, 1):
        # As known now, not when the first chunk began.
        request = Request(as_of_instant(config, as_of), None, reached, each, continues=chosen.resumed or number > 1)
        runs.append(carry_out(config, request, progress))
        reached = request.reached or reached
        done(number, len(chosen.chunks), runs[-1])
    return reached, runs


def _chunks(config: Config, begun: Backfill, resumed: bool, plan: Plan, days: int) -> list[Interval]:
    """The chunks in which there is something to do; the last one reaches the end, and so closes the backfill."""
    chunks = begun.parts(config.zone, days, tiles_until(config, plan.as_of))
    if begun.slis:
        chunks = [each for each in chunks if intersection([each], plan.tiles_to_fill)]
        if not chunks and (resumed or plan.new_series):
            chunks = [begun.left]
    return [*chunks[:-1], *(Interval(each.start, begun.interval.end) for each in chunks[-1:])]


def _begun(
    config: Config,
    published: Published | None,
    wanted: int,
    as_of_given: bool,
    start: When,
    end: When,
    sli: str | Sequence[str],
) -> tuple[Backfill, bool]:
    """The backfill that was asked for, and whether it is one that was interrupted. Raises ConfigError."""
    if start is None or end is None:
        raise ConfigError("a backfill needs both a start and an end", where="start, end")
    low, high = instant_of(config.zone, "start", start), instant_of(config.zone, "end", end)
    if low >= high:
        found = f"{iso(low)} .. {iso(high)}"
        raise ConfigError("the end must come after the start", where="start, end", found=found)
    whole = tiles_until(config, wanted)
    interval = aligned(Interval(low, high), config.tile)
    if not interval.meets(whole):
        raise ConfigError(
            "the interval asked for holds nothing",
            where="start, end",
            expected=f"a stretch between since ({iso(config.since_instant)}) and as_of ({iso(wanted)})",
            found=str(interval),
        )
    slis = tuple(sorted({sli} if isinstance(sli, str) else set(sli)))
    current = published is not None and published.base == config.base
    _check_slis(config, slis, current)
    for each in published.backfills if published is not None and current else ():
        if (each.interval, each.slis) == (interval, slis):
            return each, True
    if published is not None and as_of_given and wanted < published.as_of:
        raise ConfigError(
            "as_of lies before what is published",
            where="as_of",
            expected=f"{iso(published.as_of)} or later",
            found=iso(wanted),
            todo="leave as_of out; `sli run --as-of` adds an older as_of to the history",
        )
    return Backfill.begun(interval, slis, config.base, published.sequence if published is not None else 0), False


def _check_slis(config: Config, slis: tuple[str, ...], current: bool) -> None:
    names = [each.name for each in config.declared]
    for name in slis:
        if name not in names:
            raise ConfigError(
                f"there is no SLI '{name}' in the config",
                where="sli",
                expected=f"one of {', '.join(names)}",
                todo=nearest(name, names),
            )
    if slis and not current:
        raise ConfigError(
            "there are no hours yet that a single SLI could be added to",
            where="sli",
            found="nothing is published under this config",
            todo="leave the SLI out, or `sli run CONFIG` first",
        )


def _days(plan: Plan, chunk: str | Duration | None) -> int:
    """Length of a chunk."""
    if chunk is None:
        asked = sum(
            each.end - each.start
            for each in intersection([*plan.to_recompute, *plan.tiles_to_fill], plan.with_predictions)
        )
        return max(1, int(asked / DAY * CHUNK / max(1, plan.bytes)) + 1)
    found = duration_of("chunk", chunk)
    if not found.days:
        raise ConfigError("a chunk is made of whole days", where="chunk", expected="such as 30d", found=found.text)
    return found.days


def _windows(config: Config, plan: Plan, published: Published | None) -> pd.DataFrame:
    """Each window a plan rolls up because of its interval, for which SLIs and why."""
    import pandas as pd

    newest = _newest(config, plan, published)
    rows: list[dict[str, Any]] = []
    for grain in config.all_grains:
        starts, ends = grain.windows(config.zone, config.since_instant, newest)
        alike: dict[tuple[bool, ...], list[str]] = {}
        for each in config.declared:
            change = SliChange.of(plan, each)
            hit = affected(config.zone, plan, change, newest, grain, starts, ends)
            hit &= resting_on(config.zone, grain, starts, ends, [*plan.to_recompute, *change.to_fill], each.reference)
            alike.setdefault(tuple(hit.tolist()), []).append(each.name)
        for chosen, slis in alike.items():
            for start, end, rolled in zip(starts.tolist(), ends.tolist(), chosen, strict=True):
                if rolled:
                    reason = _reason(plan, Interval(start, end))
                    rows.append(
                        {
                            "grain": grain.name,
                            "window_start": moment(start),
                            "window_end": moment(end),
                            "slis": tuple(slis),
                            "reason": reason,
                        }
                    )
    return pd.DataFrame(rows, columns=["grain", "window_start", "window_end", "slis", "reason"])


def _reason(plan: Plan, window: Interval) -> str:
    def holds(intervals: Iterable[Interval]) -> bool:
        return bool(intersection([window], intervals))

    if not holds(plan.to_recompute):
        return "new definition"
    stale = {cause.what for cause in plan.causes if cause.what != "asked" and holds(cause.intervals)}
    asked = "asked" if intersection([window], plan.to_recompute) == [window] else "holds asked hours"
    return ", ".join([asked, *sorted(stale)])


def _newest(config: Config, plan: Plan, published: Published | None) -> int:
    """End of the newest local hour after the backfill."""
    asked = intersection(plan.with_predictions, plan.to_recompute)
    before = published.newest if published is not None else config.since_instant
    if not asked or asked[-1].end <= before:
        return before
    return int(config.zone.hours(asked[-1].end - 1, asked[-1].end)[-1])
