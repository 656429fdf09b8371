"""How good a model is now, as short texts: for the overview, the table of several models, and Prefect's artifact.

Limit: words only; every number comes from `sli.judging.standing`.
"""

from __future__ import annotations

from collections import Counter

from sli.judging.standing import SliStanding, Standing, share_text
from sli.reading.figures import interval_text, number, signed


def texts_of(one: SliStanding) -> tuple[str, str, str, str, str]:
    """An SLI now, its interval, the verdict, the SLI before and its change; empty where there is nothing to say."""
    now, before = one.now, one.before
    return (
        number(now.value, None, one.unit) if now.known else f"- ({now.reason})",
        interval_text(now.low, now.high, one.unit),
        f"{one.verdict} ({one.objective})" if one.objective else "",
        "" if before is None else number(before.value, None, one.unit),
        _change(one),
    )


def _change(one: SliStanding) -> str:
    """`+0.0306 better`, `-0.0009 within chance` or `-0.25 no interval`; empty if there is nothing to compare."""
    change = one.change
    if change is None or change.value != change.value:
        return ""
    word = direction_of(one) if change.told else "within chance" if change.judged else "no interval"
    return f"{signed(change.value, one.now.value, one.unit)} {word}"


def direction_of(one: SliStanding) -> str:
    """Whether an SLI is better or worse than before; higher or lower where no direction is better."""
    higher = one.change is not None and one.change.value > 0
    if one.better is None:
        return "higher" if higher else "lower"
    return "better" if higher == (one.better == "higher") else "worse"


def summary_cells(now: Standing) -> dict[str, str]:
    """The row of a model in the table of several: `objectives`, if the config has any, and `coverage` with its time.

    `2 met, 1 undecided, breached: recall` and `98.9% last 7 days`.
    """
    required = [one for one in now.slis if one.objective is not None]
    counts = Counter(one.verdict for one in required)
    parts = [f"{counts[verdict]} {verdict}" for verdict in ("met", "undecided", "no value") if verdict in counts]
    breached = ", ".join(one.sli for one in required if one.verdict == "breached")
    parts += [f"breached: {breached}"] * bool(breached)
    side = now.slis[0].now
    share = share_text(side.coverage) if side.predictions else "no predictions"
    return ({"objectives": ", ".join(parts)} if parts else {}) | {"coverage": f"{share} {now.period}"}


def standing_markdown(now: Standing) -> str:
    """The sentence, what is in the way, and a table with a line for each SLI."""
    names = ("SLI", "now", f"{now.level * 100:g}% interval", "required", "before", "change", "coverage", "maturity")
    rows = [names, ("---",) * len(names)]
    for one in now.slis:
        side = one.now
        coverage = f"{share_text(side.coverage)} of {side.predictions:,}" if side.predictions else ""
        rows.append((one.sli, *texts_of(one), coverage, side.maturity))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([f"**{now.sentence}**", *(f"- {problem}" for problem in now.problems), table])
