"""What `compare` prints: the answer in a sentence, a table of both slices and the difference, and how it was found."""

from __future__ import annotations

from collections.abc import Iterator

from sli.command.grid import columns, lines, printed
from sli.config.model import Config
from sli.reading.difference import Comparison
from sli.reading.figures import counted, interval_text, local, number
from sli.reading.requests import Two


def comparison_lines(found: Comparison, config: Config, width: int | None) -> list[str]:
    """The answer, the numbers that it rests on, and what was left out."""
    unit, interval = config.units.get(found.sli, ""), f"{found.level * 100:g}% interval"
    names = (found.by, found.sli, interval, "predictions", "labelled")
    texts = [
        (
            side.slice,
            number(side.value, None, unit),
            interval_text(side.low, side.high, unit),
            f"{side.predictions:,}",
            f"{side.labelled:,}",
        )
        for side in (found.first, found.second)
    ]
    texts.append(
        ("difference", number(found.difference, None, unit), interval_text(found.low, found.high, unit), "", "")
    )
    table = lines(columns(names, texts, left=names[:1]), width, keys=1)
    start, end = (local(time, config.timezone, "hour") for time in (found.start, found.end))
    window = f"{start} .. {end}, {found.maturity}"
    return [printed(line) for line in (found.sentence, *table, window, *_how(found))]


def _how(found: Comparison) -> Iterator[str]:
    """How the difference was found, and from which requests."""
    pairing, first, second = found.pairing, found.first.slice, found.second.slice
    if pairing is None:
        yield "from stored tiles; --pair COLUMN compares only the requests that both slices scored"
        return
    if found.table is not None:
        differing = f"{counted(found.table.only_first, 'request')} for {first} only, {found.table.only_second:,} for"
        yield f"McNemar's test: p = {found.p:.2g}; {found.sli} counts {differing} {second} only"
    else:
        yield f"interval from {found.resamples:,} resamples of the requests"
    yield f"{counted(pairing.requests, 'request')} by {pairing.column} scored by both, {pairing.compared:,} compared"
    reasons: tuple[tuple[Two, str], ...] = (
        (pairing.unlabelled, "label missing"),
        (pairing.unpaired, "scored by one only"),
        (pairing.repeated, "scored again by the same, the first counts"),
        (pairing.without, f"{pairing.column} is null"),
    )
    for count, reason in reasons:
        if any(count):
            yield f"left out: {reason}: {count[0]:,} of {first}, {count[1]:,} of {second}"
