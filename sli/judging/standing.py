"""How good a model is now, whether that is as required, and what stands in the way: the headline of every view.

"Now" is the last 7 days up to the newest hour, "before" the 7 days before; both are merged from tiles. Limit: over all
predictions together; only where a config has no such results, of the largest slice of its first set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sli.calendar.interval import Interval, iso, moment, union
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import StoreError
from sli.judging.sides import Change, Side, change_of, plain, sides_in
from sli.judging.windows import compared_windows
from sli.planning.published import Published
from sli.publishing.store import Store
from sli.reading.figures import interval_text, number
from sli.slis import Sli
from sli.slis.formula import Better, Objective, Unit

SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


@dataclass(frozen=True, kw_only=True)
class SliStanding:
    """One SLI now and before. `change` is now minus before; None if there is no stretch before."""

    sli: str
    unit: Unit
    better: Better | None
    objective: str | None
    """As the config has it: `>= 0.4`."""
    now: Side
    before: Side | None
    change: Change | None

    @property
    def verdict(self) -> str | None:
        """Of the objective, now: met, breached or undecided; None without an objective or a value."""
        return self.now.verdict if self.objective is not None and self.now.value == self.now.value else None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A model now. `newest` is the end of the newest hour; `problems` are what hides or delays the truth."""

    model: str
    timezone: str
    newest: pd.Timestamp
    as_of: pd.Timestamp
    horizon: str
    level: float
    problems: tuple[str, ...]
    sentence: str
    slis: tuple[SliStanding, ...]
    """Those with an objective first, else in the config's order."""

    def to_dict(self) -> dict[str, object]:
        """As plain values: times as ISO 8601, a number that there is none of as None."""
        tree = plain(self)
        tree["slis"] = [plain(standing) | {"verdict": standing.verdict} for standing in self.slis]
        return tree


def standing(config: str | Path | Config, *, failure: str | None = None, settings: Sequence[str] = ()) -> Standing:
    """How good a model is now: each SLI over the last 7 days and the 7 days before, and problems.

    `failure` is the error of the last run, if one is known: it becomes the first problem. `settings` override keys of
    the config, each `KEY=VALUE`. Reads no logs. Raises SliError, also if nothing is published yet.

    >>> from sli.judging.standing import standing
    >>> print(standing(config).sentence)
    All since 2024-01-15: accuracy 0.6667 (no objective), final
    """
    config = load_config(config, settings)
    published = Store(config.store, config.storage).published()
    if published is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    now, before = compared_windows(config, published)
    names = [sli.name for sli in config.declared]
    sides, former = (sides_in(config, published, names, window) for window in (now, before))
    slis = [
        _standing_of(sli, side, None if before is None else earlier)
        for sli, side, earlier in zip(config.declared, sides, former, strict=True)
    ]
    slis.sort(key=lambda one: one.objective is None)
    return Standing(
        model=config.model,
        timezone=config.timezone,
        newest=pd.Timestamp(moment(published.newest)),
        as_of=pd.Timestamp(moment(published.as_of)),
        horizon=config.horizon.text,
        level=config.level,
        problems=(*([failure] if failure else []), *problems(published)),
        sentence=_sentence(config, now, slis),
        slis=tuple(slis),
    )


def _standing_of(sli: Sli, now: Side, before: Side | None) -> SliStanding:
    return SliStanding(
        sli=sli.name,
        unit=sli.unit,
        better=sli.direction,
        objective=sli.objective.text if sli.objective else None,
        now=now,
        before=before,
        change=None if before is None else change_of(now, before),
    )


def problems(published: Published) -> list[str]:
    """What hides or delays the truth: hours that wait or are held, SLIs that lack hours, unfinished backfills."""
    lines = []
    if published.waiting or published.waiting_to_confirm:
        waiting = _spans([*published.waiting, *published.waiting_to_confirm])
        lines.append(f"new input waits for a run without a look-back: {waiting}")
    if published.lacking_states:
        gaps = _spans(gap for gaps in published.lacking_states.values() for gap in gaps)
        lines.append(f"some SLIs lack hours until a run without a look-back: {gaps}")
    if published.held:
        command = f"sli backfill CONFIG --start {iso(published.held[0].start)} --end {iso(published.held[-1].end)}"
        lines.append(f"input came for final hours and is held: {_spans(published.held)}; to apply it: {command}")
    for backfill in published.backfills:
        edges = f"--start {iso(backfill.interval.start)} --end {iso(backfill.interval.end)}"
        slis = "".join(f" --sli {name}" for name in backfill.slis)
        done = f"done up to {iso(backfill.done)}"
        lines.append(f"a backfill is unfinished, {done}; to continue it: sli backfill CONFIG {edges}{slis}")
    return lines


def _spans(intervals: Iterable[Interval]) -> str:
    """The first intervals, and how many more there are."""
    disjoint = union(intervals)
    more = f" and {len(disjoint) - 2} more" if len(disjoint) > 2 else ""
    return ", ".join(map(str, disjoint[:2])) + more


def _sentence(config: Config, now: Interval, slis: Sequence[SliStanding]) -> str:
    """The headline: the SLIs with an objective, else the first one, and how many of the labels are in."""
    days = config.zone.days_later(now.end, -7) == now.start
    since = "The last 7 days" if days else f"All since {config.zone.date(now.start)}"
    required = [one for one in slis if one.objective is not None] or [*slis[:1]]
    worst = {"breached": 0, "undecided": 1, None: 2, "met": 3}
    required = sorted(required, key=lambda one: worst[one.verdict])
    side = required[0].now
    labels = f"{side.coverage:.1%} of labels are in" if side.predictions else "no predictions"
    state = "final" if side.maturity == "final" else f"still provisional: {labels}"
    return f"{since}: {', '.join(map(_verdict_text, required))}, {state}"


def _verdict_text(one: SliStanding) -> str:
    if one.now.value != one.now.value:
        return f"{one.sli} has no value ({one.now.reason})"
    value = number(one.now.value, None, one.unit)
    if one.objective is None:
        return f"{one.sli} {value} (no objective)"
    interval = interval_text(one.now.low, one.now.high, one.unit)
    words = {"met": "as required", "breached": "not as required"}.get(
        one.verdict or "", f"undecided (chance leaves {interval})" if interval else "undecided"
    )
    return f"{one.sli} {value}, {words} ({bound_text(one.objective, one.unit)})"


def bound_text(objective: str, unit: Unit) -> str:
    """An objective in words: `at least 0.4`, `at most 6 h`."""
    sign, bound = Objective(objective).parts
    return f"{SIGNS[sign]} {number(bound, None, unit)}"
