"""How good a model is now, whether that is as required, and what stands in the way: the headline of every view.

"Now" is the last 7 days up to the newest hour, "before" the 7 days before; both are merged from tiles in one pass.
Limit: over all predictions together, also where the config has no such results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from sli.calendar.duration import DAY, HOUR, Duration
from sli.calendar.interval import Interval, iso, moment, union
from sli.config.arguments import When
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError
from sli.judging.bad_data import bad_data, bad_data_problems
from sli.judging.sides import Change, Side, change_of, empty_side, sides_in
from sli.judging.windows import DAYS, Windows, compared_windows
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, lacks
from sli.planning.published import Published
from sli.reading.figures import interval_text, local, number, record
from sli.reading.publication import Publication, opened
from sli.slis import Sli
from sli.slis.formula import Better, Objective, Unit

STALE = 2 * DAY
"""How old the newest prediction may be at a run, at least, before that is a problem."""
STEPS = {"hour": HOUR, "day": DAY, "week": 7 * DAY, "month": 31 * DAY, "cumulative": DAY}
BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
WORST_FIRST = {"breached": 0, "no value": 1, "undecided": 2, "met": 3, "": 4}
"""Verdicts of objectives; `no value` where an SLI with an objective has none, empty without an objective."""


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
    def worse(self) -> bool:
        """Whether it is worse than before, by chance or not."""
        if self.better is None or self.change is None:
            return False
        return self.change.value < 0 if self.better == "higher" else self.change.value > 0

    @property
    def verdict(self) -> str:
        """Of the objective, now: a key of `WORST_FIRST`."""
        if self.objective is None:
            return ""
        return self.now.verdict or "undecided" if self.now.known else "no value"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A model now. `newest` is the end of the newest hour; `problems` are what hides or delays the truth."""

    model: str
    timezone: str
    newest: pd.Timestamp
    as_of: pd.Timestamp
    horizon: str
    level: float
    period: str
    """The time of "now" in words: `last 7 days`, or `since 2024-01-15` of a younger model."""
    problems: tuple[str, ...]
    sentence: str
    slis: tuple[SliStanding, ...]
    """Those with an objective first, else in the config's order."""

    @property
    def verdict(self) -> str:
        """The worst of all SLIs: a key of `WORST_FIRST`."""
        return min((one.verdict for one in self.slis), key=lambda verdict: WORST_FIRST[verdict])

    def to_dict(self) -> dict[str, object]:
        """As plain values: times as ISO 8601, a number that there is none of as None."""
        slis = [record(one) | {"verdict": one.verdict} for one in self.slis]
        return record(self) | {"verdict": self.verdict, "slis": slis}


def standing(
    config: str | Path | Config, *, as_of: When = None, failure: str | None = None, settings: Sequence[str] = ()
) -> Standing:
    """How good a model is now: each SLI over the last 7 days and the 7 days before, and problems.

    `as_of` tells what was believed at that time. `failure` is the error of the last run, if one is known: it becomes
    the first problem. `settings` override keys of the config, each `KEY=VALUE`. Values are in the unit of the SLI,
    times are UTC. Reads no logs. Raises SliError, also if nothing is published yet.

    >>> from sli.judging.standing import standing
    >>> print(standing(config).sentence)
    All since 2024-01-15: accuracy 0.6667, final
    """
    config = load_config(config, settings)
    publication = opened(config, as_of)
    now, before = compared_windows(config, publication.published)
    period = _period(config, now)
    slis = [
        SliStanding(
            sli=sli.name,
            unit=sli.unit,
            better=sli.direction,
            objective=sli.objective.text if sli.objective else None,
            now=present,
            before=None if before is None else past,
            change=None if before is None else change_of(present, past),
        )
        for sli, present, past in _sides(publication, (now, before))
    ]
    slis.sort(key=lambda one: one.objective is None)
    return Standing(
        model=config.model,
        timezone=config.timezone,
        newest=pd.Timestamp(moment(publication.published.newest)),
        as_of=pd.Timestamp(moment(publication.published.as_of)),
        horizon=config.horizon.text,
        level=config.level,
        period=period,
        problems=(
            *([failure] if failure else []),
            *problems(publication.published),
            *_set_aside(publication, (now, before), slis, period),
        ),
        sentence=_sentence(period, slis, config.level),
        slis=tuple(slis),
    )


def _set_aside(publication: Publication, windows: Windows, slis: Sequence[SliStanding], period: str) -> list[str]:
    """What is set aside now beyond what was before."""
    window, window_before = windows
    if window_before is None:
        return []
    predictions = max((one.now.predictions for one in slis), default=0)
    before = max((one.before.predictions for one in slis if one.before is not None), default=0)
    bad = bad_data(publication, window, window_before, (predictions, before))
    return bad_data_problems(bad, predictions, period)


def surely_worse(now: Standing) -> list[SliStanding]:
    """The SLIs that are worse than before by more than chance does to the worst of all that have a better direction.

    Holm's correction (1979, Scandinavian Journal of Statistics 6: 65) of p values from the intervals of the changes.
    """
    judged = [one for one in now.slis if one.better is not None and one.change is not None and one.change.judged]
    p = {one.sli: one.change.p_value(now.level) for one in judged if one.change is not None}
    order = sorted(judged, key=lambda one: p[one.sli])
    sure = []
    for place, one in enumerate(order):
        if p[one.sli] * (len(order) - place) > 1 - now.level:
            break
        sure.append(one)
    return [one for one in now.slis if one in sure and one.worse]


def _sides(publication: Publication, windows: Sequence[Interval | None]) -> list[tuple[Sli, Side, Side]]:
    """Each declared SLI with its sides; one that cannot be computed has the reason."""
    usable, reasons = usable_slis(publication)
    sides = iter(zip(usable, *sides_in(publication, usable, windows), strict=True))
    empty = [empty_side(publication, window) for window in windows]
    rows = []
    for sli in publication.config.declared:
        if sli.name in reasons:
            present, past = (replace(side, reason=reasons[sli.name]) for side in empty)
            rows.append((sli, present, past))
        else:
            rows.append(next(sides))
    return rows


def usable_slis(publication: Publication) -> tuple[list[Sli], dict[str, str]]:
    """The declared SLIs that the tiles can give, and of each other one the reason why not."""
    usable, reasons = [], {}
    for sli in publication.config.declared:
        try:
            usable.append(publication.sli(sli.name))
        except ConfigError as error:
            reasons[sli.name] = f"{error.what}; {error.todo}" if error.todo else error.what
    return usable, reasons


def problems(published: Published) -> list[str]:
    """What hides or delays the truth: old predictions, hours that wait, are held, lack states, open backfills."""
    lines = stale(published)
    needs = published.needs
    if waiting := needs.of(RECOMPUTE, CONFIRM):
        lines.append(f"new input waits for a run without a look-back: {_spans(waiting)}")
    if lacking := needs.of(*map(lacks, needs.states)):
        lines.append(f"some SLIs lack hours until a run without a look-back: {_spans(lacking)}")
    if held := needs.of(HELD):
        command = f"sli backfill CONFIG --start {iso(held[0].start)} --end {iso(held[-1].end)}"
        lines.append(f"input came for final hours and is held: {_spans(held)}; to apply it: {command}")
    for backfill in published.backfills:
        lines.append(f"a backfill is unfinished, done up to {iso(backfill.done)}; to continue it: {backfill.command}")
    return lines


def stale(published: Published) -> list[str]:
    """A line if the newest prediction is much older than the run: all else is then about a time long past."""
    age = published.as_of - published.newest
    if age <= stale_after(published.grains):
        return []
    since = local(pd.Timestamp(moment(published.newest)), published.timezone or "UTC", "hour")
    return [f"no predictions since {since}: the newest is {age // DAY:,} days older than the run"]


def stale_after(grains: Iterable[str]) -> int:
    """How old the newest prediction of a model with these grains may be before that is a problem: microseconds.

    >>> stale_after(["hour", "day"]) // DAY, stale_after(["week"]) // DAY
    (2, 21)
    """
    return max(STALE, 3 * min(map(_step, grains), default=DAY))


def _step(grain: str) -> int:
    """The time from one window of a grain to the next: of `7d/1d` a day."""
    every = grain.rpartition("/")[2]
    return STEPS[every] if every in STEPS else Duration.parse(every).micros


def _spans(intervals: Iterable[Interval]) -> str:
    """The first intervals, and how many more there are."""
    disjoint = union(intervals)
    more = f" and {len(disjoint) - 2} more" if len(disjoint) > 2 else ""
    return ", ".join(map(str, disjoint[:2])) + more


def _period(config: Config, now: Interval) -> str:
    whole = config.zone.days_later(now.end, -DAYS) == now.start
    return f"last {DAYS} days" if whole else f"since {config.zone.date(now.start)}"


def _sentence(period: str, slis: Sequence[SliStanding], level: float) -> str:
    """The headline: the SLIs with an objective, the worst first, else the first one; and how many labels are in."""
    required = [one for one in slis if one.objective is not None] or [*slis[:1]]
    required.sort(key=lambda one: WORST_FIRST[one.verdict])
    side = required[0].now
    if side.predictions == 0:
        state = "no predictions"
    elif side.maturity == "final":
        state = "final" if side.known else ""
    else:
        state = f"still provisional: {share_text(side.coverage)} of labels are in"
    words = "; ".join(_in_words(one, level) for one in required)
    return f"{'All' if period.startswith('since') else 'The'} {period}: {words}{', ' if state else ''}{state}"


def share_text(coverage: float) -> str:
    """A share that is 100% only if nothing is missing."""
    return f"{min(coverage, 0.999) if coverage < 1 else 1.0:.1%}"


def _in_words(one: SliStanding, level: float) -> str:
    """`recall 0.434, as required (at least 0.4)`."""
    if not one.now.known:
        return f"{one.sli} has no value: {one.now.reason}"
    value = f"{one.sli} {number(one.now.value, None, one.unit)}"
    if one.objective is None:
        return value
    interval = interval_text(one.now.low, one.now.high, one.unit).replace("..", "to")
    bound = bound_text(one.objective, one.unit)
    if one.verdict == "undecided" and interval:
        return f"{value}, undecided: {bound} required, {level * 100:g}% interval {interval}"
    words = {"met": "as required", "breached": "not as required"}.get(one.verdict, "undecided")
    return f"{value}, {words} ({bound})"


def bound_text(objective: str, unit: Unit) -> str:
    """An objective in words.

    >>> bound_text(">= 0.4", ""), bound_text("<= 7200", "s")
    ('at least 0.4', 'at most 2 h')
    """
    sign, bound = Objective(objective).parts
    return f"{BOUNDS[sign]} {number(bound, None, unit)}"
