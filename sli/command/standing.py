"""Where a model stands: the verdicts of its objectives and the coverage, in the newest window of each grain.

Limit: over all predictions together; only where a config has no such results, over the slices of its first set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sli.calendar.duration import DAY
from sli.calendar.grain import Grain
from sli.calendar.interval import moment
from sli.config.model import Config
from sli.publishing.store import Store
from sli.reading.figures import Row, rows_of
from sli.reading.read import read

if TYPE_CHECKING:
    import pandas as pd


def newest_windows(config: Config) -> pd.DataFrame:
    """The results of the newest window of each grain, the grains in the config's order. Raises SliError."""
    import pandas as pd

    published = Store(config.store, config.storage).published()
    if published is None:
        return pd.DataFrame()
    whole = config.slice_sets[0] if () not in config.slice_sets else ()
    frame = read(config, start=moment(published.newest - 2 * DAY), slice_by=whole)
    return pd.concat([_newest_of(frame, grain) for grain in config.all_grains], ignore_index=True)


def _newest_of(frame: pd.DataFrame, grain: Grain) -> pd.DataFrame:
    of_grain = frame[frame.grain == grain.name]
    newest: pd.DataFrame = of_grain[of_grain.window_end == of_grain.window_end.max()]
    return newest


def standing_cells(config: Config) -> dict[str, str]:
    """`objectives`, if the config has any, and `coverage`, of the newest windows; empty before the first publication.

    The coverage is that of the window with the most predictions, whose grain is named. Raises SliError.
    """
    rows = list(rows_of(newest_windows(config)))
    if not rows:
        return {}
    largest = max(rows, key=lambda row: row.predictions)
    judged = [row for row in rows if isinstance(row.verdict, str)]
    return ({"objectives": _verdicts(judged)} if judged else {}) | {
        "coverage": f"{largest.coverage:.1%} {largest.grain}"
    }


def _verdicts(judged: Sequence[Row]) -> str:
    """`2 met, 1 undecided, breached: recall (day, 7d/1d)`."""
    counts = Counter(row.verdict for row in judged)
    parts = [f"{counts[verdict]} {verdict}" for verdict in ("met", "undecided") if verdict in counts]
    breached: dict[str, list[str]] = {}
    for row in judged:
        if row.verdict == "breached" and row.grain not in breached.setdefault(row.sli, []):
            breached[row.sli].append(row.grain)
    names = ", ".join(f"{sli} ({', '.join(grains)})" for sli, grains in breached.items())
    return ", ".join([*parts, *([f"breached: {names}"] if names else [])])
