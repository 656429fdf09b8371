"""What is published: does it suit the config and this clock, what did the last run leave, and what did not count?

Limit: it reads the state of the last run and its audit; whether the tables are whole is the matter of `tables`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sli.calendar.interval import Interval, iso
from sli.doctor.finding import Finding, Skipped, ok, problem, warning
from sli.doctor.setup import Setup
from sli.planning.as_of import latest_as_of
from sli.planning.needs import HELD, RECOMPUTE
from sli.planning.published import NO_BASE, Published
from sli.publishing.audit import BAD, EXPLANATIONS, current_audit
from sli.reading.figures import counted

MANY = 0.2
"""A share of the feedback from which unmatched feedback is told."""


def state(setup: Setup) -> Iterator[Finding]:
    """Whether the last run left something to do."""
    published = setup.published
    if published is None:
        yield ok("nothing is published yet")
        return
    findings = list(_unsuited(setup, published)) + list(_left(setup, published))
    yield from findings
    if not findings:
        yield ok(f"run {published.run_id}, as of {iso(published.as_of)}, left nothing to do")


def _unsuited(setup: Setup, published: Published) -> Iterator[Finding]:
    if published.as_of > latest_as_of():
        yield problem(
            f"the store is published as of the future, {iso(published.as_of)}",
            "`sli run CONFIG --undo-future` takes that back; check the clock of the machine that ran it",
        )
    if published.migration is not None:
        yield warning(f"the store has format {published.format}", "`sli run CONFIG` migrates it; back it up before")
    elif published.base == NO_BASE:
        yield warning("a repair ended before its run, which recomputes everything", "`sli run CONFIG` completes it")
    elif published.base != setup.config.base:
        yield warning(
            "the config means something else than when it was published (its logs' columns, horizon, zone or classes), "
            "so the next run recomputes everything",
            "`sli plan CONFIG` says what that takes; if it is not meant, undo the change",
        )


def _left(setup: Setup, published: Published) -> Iterator[Finding]:
    tile = setup.config.tile
    for need, what in ((HELD, "held: their logs changed after they were final"), (RECOMPUTE, "waiting")):
        if tiles := published.needs.of(need):
            span = Interval(tiles[0].start, tiles[-1].end)
            count = sum(one.end - one.start for one in tiles) // tile
            again = f"`sli backfill CONFIG --start {iso(span.start)} --end {iso(span.end)}` recomputes them"
            todo = again if need == HELD else "`sli run CONFIG` without --look-back recomputes them"
            yield warning(f"{counted(count, 'hour')} of {span} {'is' if count == 1 else 'are'} {what}", todo)
    for backfill in published.backfills:
        yield warning(f"a backfill of {backfill.interval} is unfinished", f"`{backfill.command}` continues it")


def audit(setup: Setup) -> Iterator[Finding]:
    """Which rows did not count in the last run."""
    published = setup.published
    if published is None:
        raise Skipped("nothing is published yet")
    rows = setup.store.rows("audit", published, ["log", "check", "count"], current_audit(published)).to_pylist()
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        counts[row["log"], row["check"]] += row["count"]
    feedback = setup.inputs.feedback.row_count
    told = False
    for (log, check), count in sorted(counts.items()):
        name = check.split(":")[0]
        bad = check.startswith(BAD)
        if bad or (log == "feedback" and name in ("orphan", "late", "before prediction") and count > MANY * feedback):
            told = True
            meaning = f": {EXPLANATIONS[name]}" * (name in EXPLANATIONS and name == check)
            yield warning(f"{counted(count, 'row')} of {log} {check}{meaning}", "`sli show CONFIG --table audit`")
    if not told:
        others = ", ".join(f"{count:,} {log} {check}" for (log, check), count in sorted(counts.items()))
        yield ok(f"no bad input in the last run; {others or 'every row counts'}")
