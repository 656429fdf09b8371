"""Runs and results as plain values: for `--json`, and for the artifacts and events of a scheduler.

Limit: numbers as text are cut to a few digits; the tables of the store hold all of them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from sli.calendar.interval import iso
from sli.config.model import Config
from sli.reading.figures import change_cells, largest_first, plain, rows_of
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
