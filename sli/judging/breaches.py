"""Which objectives are breached since a run that were not before, by SLI.

Limit: of many windows only the newest is told; the table `revisions` has all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sli.calendar.interval import iso
from sli.reading.figures import rows_of, slice_name, window_name

if TYPE_CHECKING:
    import pandas as pd


def breaches(rows: pd.DataFrame, timezone: str) -> dict[str, dict[str, object]]:
    """By SLI the windows that breach its objective and did not before: how many, and the newest of them."""
    breached = rows[(rows.verdict == "breached") & (rows.old_verdict != "breached") & (rows.change != "removed")]
    found: dict[str, dict[str, object]] = {}
    for name, of_sli in breached.groupby("sli", sort=True):
        newest = next(rows_of(of_sli.sort_values(["window_end", "window_start"], kind="stable").tail(1)))
        found[str(name)] = {
            "objective": newest.objective,
            "windows": len(of_sli),
            "newest": f"{newest.grain} {window_name(newest, timezone)} {slice_name(dict(newest.slice))}",
            "grain": newest.grain,
            "window_end": iso(newest.window_end.value // 1000),
            "slice": dict(newest.slice),
            "value": newest.value,
            "coverage": newest.coverage,
            "maturity": newest.maturity,
        }
    return found
