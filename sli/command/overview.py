"""`sli show CONFIG` alone: four questions about a model answered on one screen.

How good is it now, and is that as required? How was it over time? Is a drop real? What changed since the run before?
Limit: as it is now, over all predictions together; options of `show` choose anything else.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from sli.command.grid import GAP, Column, columns, lines, needed, printed, shortened, terminal_width
from sli.command.output import red
from sli.command.standing import direction_of, texts_of
from sli.command.text import change_line
from sli.command.trends import SHORTEST, TREND, sparks_of, trends
from sli.config.arguments import When
from sli.config.model import Config
from sli.judging.explain import explain
from sli.judging.standing import SliStanding, Standing, surely_worse
from sli.reading.figures import counted, local, rows_of
from sli.reading.publication import newest_or_none
from sli.reading.read import read
from sli.report.changes import changes_of

SLIS = 10
"""SLIs in the table."""
EXAMPLES = 3
"""Verdicts that flipped, and other changes, that are listed."""
SAME = "as before, but its interval or objective changed"
"""Of a verdict that flipped, though the value did not change."""
GOOD, REAL, CHANGED = (
    "How good is it now, and is that as required?",
    "Is the change real, or late labels, or bad data?",
    "What changed since the run before?",
)


def overview_lines(config: Config, now: Standing, as_of: When = None) -> list[str]:
    """The screen of the pinned publication, or else of the newest; `as_of` chooses the trends. Raises SliError."""
    width = terminal_width()
    text = [
        f"{now.model}: predictions to {local(now.newest, now.timezone, 'hour')}, "
        f"known at {local(now.as_of, now.timezone, 'hour')}, "
        f"labels count for {now.horizon}, times in {now.timezone}",
        now.sentence,
    ]
    head = [line for part in text for line in _wrapped(part, width)]
    head += [red(line, line) for problem in now.problems for line in _wrapped(f"! {problem}", width)]
    return [
        *head,
        "",
        shortened(GOOD, width),
        *_table(config, now, width, as_of),
        "",
        shortened(REAL, width),
        *_indented(_real(config, now), width),
        "",
        *_changed_lines(config, width),
        "",
        *_wrapped(_more(config, now), width),
    ]


def _wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    text = printed(text)
    return (
        [indent + text]
        if width is None
        else textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    )


def _indented(texts: Sequence[str], width: int | None) -> list[str]:
    return [line for text in texts for line in _wrapped(text, width, "  ")]


def _table(config: Config, now: Standing, width: int | None, as_of: When) -> list[str]:
    """A line for each SLI: its trend, its value and interval now, the verdict, the value before and the change."""
    shown = now.slis[:SLIS]
    names = ("SLI", "now", f"{now.level * 100:g}% interval", "required", "before", "change")
    texts = [(one.sli, *texts_of(one)) for one in shown]
    table = [column for column in columns(names, texts, left=names[2:4], whole=("SLI", "change")) if any(column.cells)]
    room = None if width is None else width - 2
    for name in ("before", names[2], "change"):
        if room is not None and needed(table) > room:
            table = [column for column in table if column.name != name]
    if room is not None and room - needed(table) - GAP < SHORTEST:
        table = [column for column in table if column.name != "before"]
    most = 0 if room is None else min(TREND, room - needed(table) - GAP)
    if most >= SHORTEST and (sparks := _sparks(config, [one.sli for one in shown], most, as_of)):
        table.insert(1, Column("trend", [sparks.get(one.sli, "") for one in shown], left=True))
    drawn = [f"  {line}" for line in lines(table, room, must=len(table))]
    for place, one in enumerate(shown, 1):
        drawn[place] = red(drawn[place], "breached") if one.verdict == "breached" else drawn[place]
    more = len(now.slis) - len(shown)
    return [*drawn, *[f"  {more:,} more: sli show CONFIG --rows 1"] * (more > 0)]


def _sparks(config: Config, slis: Sequence[str], most: int, as_of: When) -> dict[str, str]:
    """The newest days of each SLI over all predictions, each on its own scale."""
    if () not in config.slice_sets or "day" not in [grain.name for grain in config.all_grains]:
        return {}
    days = read(config, sli=list(slis), grain="day", slice={}, as_of=as_of)
    if days.empty:
        return {}
    days = days[days.window_end > days.window_end.max() - timedelta(days=most + 1)]
    shown = trends(days, "sli")
    return dict(zip([trend.name for trend in shown], sparks_of(shown, most, one_scale=False), strict=True))


def _real(config: Config, now: Standing) -> list[str]:
    """What explains the change of the SLI with the worst standing; or that none is worse."""
    worse = surely_worse(now)
    breached = [one for one in now.slis if one.verdict == "breached" and one.change is not None]
    candidates = breached or [one for one in worse if one.objective is not None] or worse
    if not candidates:
        judged = [one for one in now.slis if one.change is not None and one.change.judged]
        alone = [one.sli for one in judged if one.worse and one.change is not None and one.change.told]
        if alone:
            return [
                f"{len(alone)} of {counted(len(judged), 'SLI')} worse ({', '.join(alone)}): chance does this in so many"
            ]
        return ["no SLI is worse than before by more than chance" if judged else "there is nothing to compare with yet"]
    worst = max(candidates, key=_size)
    others = [one.sli for one in worse if one is not worst]
    also = [f"also worse: {', '.join(others)}"] if others else []
    found = explain(config, worst.sli)
    since = [found.since.sentence] if found.since.first_day else []
    return [found.sentence, *since, *also]


def _size(one: SliStanding) -> float:
    """How much worse it is than before, as a share of the larger value."""
    if one.change is None or one.before is None or np.isnan(one.change.value):
        return -1.0
    largest = max(abs(one.now.value), abs(one.before.value)) or 1.0
    return abs(one.change.value) / largest * (1 if direction_of(one) == "worse" else -1)


def _changed_lines(config: Config, width: int | None) -> list[str]:
    """Counts by cause, verdicts that flipped, and the largest other changes."""
    publication = newest_or_none(config)
    last = None if publication is None else changes_of(publication)
    if last is None or last.first:
        return [CHANGED, "  no changes yet: this is the first run"]
    counts = [f"{count:,} changed by {cause}" for cause, count in last.causes.items()]
    counts += [f"{last.matured:,} became final unchanged"] * (last.matured > 0)
    total = sum(last.causes.values()) + last.matured
    flips = [
        f"{row.old_verdict} -> {row.verdict}: {change_line(row, config, SAME)}"
        for row in rows_of(last.flips.head(EXAMPLES))
    ]
    more = last.flipped - len(flips)
    flips += [f"{counted(more, 'more verdict')} changed"] * (more > 0)
    moved = [change_line(row, config) for row in rows_of(last.largest.head(EXAMPLES))]
    texts = [f"{counted(total, 'result')}: {', '.join(counts)}" if total else "no result changed", *flips, *moved]
    return [CHANGED, *(shortened(f"  {printed(text)}", width) for text in texts)]


def _more(config: Config, now: Standing) -> str:
    """Which options show more."""
    sliced = next((",".join(columns) for columns in config.slice_sets if columns), None)
    hints = [f"--sli {now.slis[0].sli}" if now.slis else "", f"--by {sliced}" if sliced else ""]
    hints += ["--rows 14", "--table revisions"]
    return f"More: sli show CONFIG with {', '.join(hint for hint in hints if hint)} or --help; sli explain CONFIG SLI"
