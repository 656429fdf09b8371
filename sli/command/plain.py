"""Runs and results as plain values: for `--json`, and for the artifacts and events of a scheduler.

Limit: numbers as text are cut to a few digits; the tables of the store hold all of them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from sli.calendar.interval import iso
from sli.config.model import Config
from sli.reading.figures import change_cells, largest_first, plain, rows_of, slice_name, window_name
from sli.runs.backfill import BackfillOutcome, BackfillPlan
from sli.runs.outcome import Outcome

if TYPE_CHECKING:
    import pandas as pd


def outcome_dict(outcome: Outcome) -> dict[str, object]:
    """A run as plain values."""
    return {
        "published": outcome.published,
        "run_id": outcome.run_id,
        "seconds": outcome.seconds,
        "tiles_recomputed": outcome.tiles,
        "results_revised": outcome.changes.changed,
        "causes": dict(outcome.changes.causes.most_common()),
        "set_aside": outcome.newly_bad.select(["log", "check", "file", "count", "samples", "explanation"]).to_pylist(),
        "conflicts": [asdict(conflicts) | {"share": conflicts.share} for conflicts in outcome.conflicts],
        "failing": list(outcome.failing),
        "warnings": list(outcome.warnings),
        "plan": outcome.plan.to_dict(),
    }


def backfill_plan_dict(planned: BackfillPlan) -> dict[str, object]:
    """The dry run of a backfill as plain values, every window with its reason."""
    return {
        "backfill": planned.backfill.id,
        "resumed": planned.resumed,
        "chunks": [[iso(part.start), iso(part.end)] for part in planned.parts],
        "windows": plain(planned.windows.to_dict("records")),
        "plan": planned.plan.to_dict(),
    }


def backfill_dict(outcome: BackfillOutcome) -> dict[str, object]:
    """A backfill as plain values."""
    return {
        "backfill": outcome.backfill.id,
        "resumed": outcome.resumed,
        "seconds": outcome.seconds,
        "results_changed": len(outcome.changes),
        "causes": outcome.changes.cause.value_counts().to_dict(),
        "runs": [outcome_dict(run) for run in outcome.runs],
    }


def change_rows(rows: pd.DataFrame, config: Config, limit: int) -> list[dict[str, str]]:
    """Changed results as short texts, the largest change first: window, slice, SLI, old, new, cause."""
    return [
        change_cells(row, config.units.get(row.sli, ""), config.timezone)
        for row in rows_of(largest_first(rows).head(limit))
    ]


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
            "value": newest.value,
            "coverage": newest.coverage,
            "maturity": newest.maturity,
        }
    return found
