"""The newest windows of a series, how labels arrive and how scores came true, as tables that need no script.

Limit: the newest `ROWS` windows of a file, of one SLI; the chart shows all.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pandas as pd

from sli.reading.figures import interval_text, local, number, slice_name
from sli.report.chunks import unpacked
from sli.report.contents import Contents
from sli.report.words import label_of
from sli.slis.formula import Unit

ROWS = 14
VERDICTS = {"m": "✓ met", "b": "× breached", "u": "? undecided"}


def first_windows(contents: Contents) -> dict[str, object] | None:
    """The newest windows of the first SLI, slice and grain; None if the page has no series of them."""
    grain = contents.history.first_grain
    packed = contents.history.chunks.get((0, grain))
    if packed is None:
        return None
    first = contents.standing.slis[0]
    return {
        "sli": first.sli,
        "slice": slice_name(dict(contents.slices[0].values)),
        "grain": label_of(contents.grains[grain], contents.config),
        "rows": window_rows(unpacked(packed), 0, first.unit, contents.standing.timezone, ROWS),
    }


def window_rows(chunk: dict[str, Any], sli: int, unit: Unit, timezone: str, most: int) -> list[dict[str, str]]:
    """The newest windows of a chunk as texts, newest first; `sli` is a position among its SLIs."""
    series = chunk["slis"][sli]
    starts, ends = ([*accumulate(chunk[edge])] for edge in ("start", "end"))

    def moment(seconds: int) -> str:
        return local(pd.Timestamp(seconds, unit="s", tz="UTC"), timezone, "hour")

    def one_of(column: str, place: int) -> float:
        value = series[column][place] if series[column] else None
        return float("nan") if value is None else value

    def row(place: int) -> dict[str, str]:
        reason = series["reasons"][int(series["why"][place], 36)] if series["why"][place] != "-" else None
        predictions, labelled = chunk["predictions"][place], chunk["labelled"][place]
        state = "final" if chunk["final"][place] == "1" else "provisional"
        return {
            "start": moment(starts[place]),
            "end": moment(ends[place]),
            "value": number(one_of("value", place), reason, unit),
            "interval": interval_text(one_of("low", place), one_of("high", place), unit),
            "labelled": f"{labelled:,} of {predictions:,}",
            "state": f"{state} {VERDICTS.get(series['verdict'][place], '')}".strip(),
        }

    return [row(place) for place in range(len(starts))[: -most - 1 : -1]]


def arrival_rows(outcomes: dict[str, Any], horizon: float) -> list[tuple[str, str]]:
    """By which age which share of labels is known, as text; `horizon` in seconds, beyond which no label counts."""
    arrival = outcomes["arrival"] or {"age": [], "share": []}
    return [
        (number(min(age, horizon), None, "s"), f"{share:.1%}")
        for age, share in zip(arrival["age"], arrival["share"], strict=True)
    ]


def calibration_rows(outcomes: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Of each group of scores the mean score, the share that came true, its interval and its count, as text."""
    found = outcomes["calibration"] or {"predicted": [], "observed": [], "low": [], "high": [], "count": []}
    columns = (found[name] for name in ("predicted", "observed", "low", "high", "count"))
    return [
        (number(score, None, ""), number(share, None, ""), interval_text(low, high, ""), f"{count:,}")
        for score, share, low, high, count in zip(*columns, strict=True)
        if count
    ]
