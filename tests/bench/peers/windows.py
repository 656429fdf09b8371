"""From counts per hour (and region) to accuracy, precision and recall per hour, per day and since the first day.

What every peer written by hand ends with, and the form in which results are compared: for each grain a mapping from
`window end in epoch seconds|region` (no region: all) to predictions, labelled, accuracy, precision, recall.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

HOUR, DAY = 3600, 86400
Counts = Sequence[int]  # predictions, labelled, true positives, false positives, false negatives
Windows = dict[str, dict[str, list[float | None]]]


def windows(rows: Iterable[tuple[int, str | None, *tuple[int, ...]]]) -> Windows:
    """All windows of rows of an hour (counted since 1970), a region or None, and the five counts."""
    hours: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0] * 5)
    days: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0] * 5)
    for hour, region, *counts in rows:
        for name in {"", region or ""}:
            for into in (hours[(hour + 1) * HOUR, name], days[(hour * HOUR // DAY + 1) * DAY, name]):
                into[:] = [a + int(b) for a, b in zip(into, counts, strict=True)]
    ends = range(min(end for end, _ in days), max(end for end, _ in days) + 1, DAY)
    since: dict[tuple[int, str], list[int]] = {}
    for name in {name for _, name in days}:
        running = itertools.accumulate((days.get((end, name), [0] * 5) for end in ends), _added)
        since |= {(end, name): counts for end, counts in zip(ends, running, strict=True)}
    grains = {"hour": hours, "day": days, "cumulative": since}
    return {
        grain: {f"{end}|{name}": _figures(c) for (end, name), c in found.items()} for grain, found in grains.items()
    }


def _added(a: list[int], b: list[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _figures(counts: Counts) -> list[float | None]:
    predictions, labelled, tp, fp, fn = counts
    tn = labelled - tp - fp - fn
    ratios = ((tp + tn, labelled), (tp, tp + fp), (tp, tp + fn))
    return [predictions, labelled, *(None if not below else above / below for above, below in ratios)]


def report(found: Windows, **figures: object) -> None:
    """Leave the windows in the file of the third argument, print the figures."""
    Path(sys.argv[3]).write_text(json.dumps(found))
    print(json.dumps(figures))
