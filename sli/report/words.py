"""What the page says in words and numbers: its facts, cards, judgements and changes, by the names of the templates.

Limit: a name that a template lacks shows only when it is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup

from sli.calendar.grain import Grain
from sli.config.model import Config
from sli.judging.explain import Explanation
from sli.judging.one_slice import SliceChange
from sli.judging.standing import SliStanding, Standing, bound_text
from sli.reading.figures import change_cells, interval_text, local, number, rows_of, signed, slice_name
from sli.report.changes import Changes
from sli.report.drawings import sparkline
from sli.report.series import Line
from sli.slis.formula import Objective, Unit

SIGNS = {"met": "✓", "breached": "×", "undecided": "?"}
LABELS = {"hour": "hours", "day": "days", "week": "weeks", "month": "months"}
SLICES = 12
"""How many slices a judgement lists."""


def facts_of(standing: Standing) -> str:
    """Until when predictions and labels are known, for how long labels count, and whose times these are."""
    newest, as_of = (local(time, standing.timezone, "hour") for time in (standing.newest, standing.as_of))
    horizon, zone = standing.horizon, standing.timezone
    return f"Predictions to {newest} · known at {as_of} · labels count for {horizon} · times in {zone}"


VERDICT_WORDS = re.compile("(not as required|as required|undecided)")
KINDS = {"not as required": "b", "as required": "m", "undecided": "u"}


def headline_of(standing: Standing) -> Markup:
    """The sentence of the standing, its verdicts in their colours."""
    parts = VERDICT_WORDS.split(standing.sentence)
    verdict = Markup('<span class="verdict-{}">{}</span>')
    return Markup("").join(verdict.format(KINDS[part], part) if part in KINDS else part for part in parts) + "."


def lead_of(standing: Standing) -> str:
    """What the numbers of the cards are."""
    now = standing.slis[0].now
    start, end = (local(time, standing.timezone, "hour") for time in (now.start, now.end))
    return (
        f"All predictions from {start} to {end}, merged from the tiles. Below each value what chance leaves open "
        f"({standing.level:.0%}); the line is its course since deployment, dashed the objective."
    )


def label_of(grain: Grain, config: Config) -> str:
    """A grain in words: `days`, `7 days, every day`, `all since 2013-02-01`."""
    if grain.size is None or grain.every is None:
        since = config.zone.date(config.since_instant)
        return LABELS.get(grain.name) or f"all since {since}"
    every = "day" if grain.every.text == "1d" else "hour" if grain.every.text == "1h" else grain.every.text
    return f"{grain.size.text}, every {every}"


def card_of(one: SliStanding, line: Line | None) -> dict[str, object]:
    """What a card shows of an SLI."""
    bound = None if one.objective is None else Objective(one.objective).parts[1]
    return {
        "name": one.sli,
        "verdict": one.verdict if one.verdict in SIGNS else "",
        "sign": SIGNS.get(one.verdict, ""),
        "value": number(one.now.value, None, one.unit) if one.now.value == one.now.value else "no value",
        "interval": interval_text(one.now.low, one.now.high, one.unit) or (one.now.reason or "no interval"),
        "objective": "" if one.objective is None else bound_text(one.objective, one.unit),
        "before": _before(one),
        "spark": Markup("") if line is None else sparkline(line.values, line.final, bound),
    }


def _before(one: SliStanding) -> str:
    """`before 0.435 (-0.0009)`."""
    if one.before is None:
        return "no time before"
    before = one.before
    if before.value != before.value:
        return f"before: no value ({before.reason})"
    if one.change is None or one.change.value != one.change.value:
        return f"before {number(before.value, None, one.unit)}"
    return f"before {number(before.value, None, one.unit)} ({signed(one.change.value, one.now.value, one.unit)})"


def judgement_of(one: SliStanding, found: Explanation | None) -> dict[str, object]:
    """What a change of an SLI comes from; of one that the tiles cannot give, why not."""
    if found is None:
        return {
            "sentence": f"{one.sli} has no value: {one.now.reason}.",
            "windows": "",
            "findings": (),
            "slices": (),
            "more": 0,
        }

    def span(start: object, end: object) -> str:
        return f"{local(start, found.timezone, 'hour')} to {local(end, found.timezone, 'hour')}"  # type: ignore[arg-type]

    return {
        "sentence": found.sentence,
        "windows": f"{span(found.now.start, found.now.end)} against {span(found.before.start, found.before.end)}",
        "findings": [(row.question, row.finding, row.answer) for row in found.rows],
        "slices": [_slice_row(one, found.unit) for one in found.slices[:SLICES]],
        "more": len(found.slices[SLICES:]),
    }


def _slice_row(one: SliceChange, unit: Unit) -> dict[str, object]:
    """A slice in a judgement: its numbers as text, and as `data` for the dots."""
    now, before = one.now, one.before
    numbers_of = {"value": now.value, "low": now.low, "high": now.high, "before": before.value}
    return {
        "name": slice_name(dict(one.slice)),
        "now": number(now.value, now.reason, unit),
        "before": number(before.value, before.reason, unit),
        "interval": interval_text(now.low, now.high, unit),
        "explains": signed(one.explains, now.value, unit) if one.explains == one.explains else "",
        "data": {name: f"{value:.6g}" for name, value in numbers_of.items() if value == value},
    }


def change_rows(changes: Changes, units: dict[str, Unit], timezone: str) -> Iterator[dict[str, str]]:
    """Verdicts that flipped first, then the largest changes."""
    for frame, flips in ((changes.flips, True), (changes.largest, False)):
        for row, old_verdict in zip(rows_of(frame), frame["old_verdict"], strict=True):
            cells = change_cells(row, units.get(row.sli, ""), timezone)
            if flips:
                cells |= {"old": f"{cells['old']} ({old_verdict})", "new": f"{cells['new']} ({row.verdict})"}
            yield cells
