"""Runs and results as plain values: for JSON, for the artifacts and events of a scheduler.

Limit: numbers in tables for people are cut to a few digits; the tables of the store hold all of them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sli.calendar.interval import iso
from sli.command.figures import largest_first, number, numbers, window_name
from sli.command.plot import slice_name
from sli.config.model import Config
from sli.runs.backfill import BackfillOutcome, BackfillPlan
from sli.runs.outcome import Outcome

if TYPE_CHECKING:
    import pandas as pd


def outcome_dict(outcome: Outcome) -> dict[str, Any]:
    """A run as plain values."""
    return {
        "published": outcome.published,
        "run_id": outcome.run_id,
        "seconds": outcome.seconds,
        "tiles_recomputed": outcome.tiles,
        "results_revised": len(outcome.changes.revised),
        "causes": dict(outcome.changes.counts("cause").most_common()),
        "set_aside": outcome.newly_bad.select(["log", "check", "file", "count", "samples", "explanation"]).to_pylist(),
        "conflicts": [asdict(each) | {"share": each.share} for each in outcome.conflicts],
        "failing": list(outcome.failing),
        "warnings": list(outcome.warnings),
        "plan": outcome.plan.to_dict(),
    }


def backfill_plan_dict(chosen: BackfillPlan) -> dict[str, Any]:
    """The dry run of a backfill as plain values, every window with its reason."""
    windows = chosen.windows.assign(
        window_start=[each.isoformat() for each in chosen.windows.window_start],
        window_end=[each.isoformat() for each in chosen.windows.window_end],
    )
    return {
        "backfill": chosen.backfill.id,
        "resumed": chosen.resumed,
        "chunks": [[iso(each.start), iso(each.end)] for each in chosen.chunks],
        "windows": windows.to_dict("records"),
        "plan": chosen.plan.to_dict(),
    }


def backfill_dict(outcome: BackfillOutcome) -> dict[str, Any]:
    """A backfill as plain values."""
    return {
        "backfill": outcome.backfill.id,
        "resumed": outcome.resumed,
        "seconds": outcome.seconds,
        "results_changed": len(outcome.changes),
        "causes": outcome.changes.cause.value_counts().to_dict(),
        "runs": [outcome_dict(each) for each in outcome.runs],
    }


def change_rows(rows: pd.DataFrame, config: Config, limit: int) -> list[dict[str, str]]:
    """Changed results as short texts, the largest change first: window, slice, SLI, old, new, cause."""
    return [_change(row, config) for row in largest_first(rows).head(limit).itertuples()]


def _change(row: Any, config: Config) -> dict[str, str]:
    old, new = numbers(row.old_value, row.value, row.reason)
    return {
        "window": f"{row.grain} {window_name(row, config)}",
        "slice": slice_name(dict(row.slice)),
        "SLI": row.sli,
        "old": old,
        "new": "removed" if row.change == "removed" else new,
        "cause": row.cause,
    }


def latest_markdown(frame: pd.DataFrame, config: Config) -> str:
    """The newest window of each grain: value, interval, verdict, coverage and maturity of each SLI."""
    lines = ["| window | SLI | value | interval | objective | coverage | maturity |", "|---|---|---|---|---|---|---|"]
    for grain in config.all_grains:
        mine = frame[frame.grain == grain.name]
        row: Any
        for row in mine[mine.window_end == mine.window_end.max()].itertuples():
            interval = "" if np.isnan(row.ci_low) else f"{number(row.ci_low)} .. {number(row.ci_high)}"
            objective = f"{row.objective} {row.verdict}" if isinstance(row.objective, str) else ""
            covered = f"{row.coverage:.1%} of {row.predictions:,}"
            value = number(row.value, row.reason)
            window = f"{row.grain} {window_name(row, config)}"
            lines.append(f"| {window} | {row.sli} | {value} | {interval} | {objective} | {covered} | {row.maturity} |")
    return "\n".join(lines)


def breaches(rows: pd.DataFrame, config: Config) -> list[dict[str, Any]]:
    """For each SLI the windows that breach its objective since this run: how many, and the newest of them."""
    found = rows[(rows.verdict == "breached") & (rows.old_verdict != "breached") & (rows.change != "removed")]
    told: list[dict[str, Any]] = []
    for name, mine in found.groupby("sli", sort=True):
        newest: Any = next(mine.sort_values(["window_end", "window_start"], kind="stable").tail(1).itertuples())
        told.append(
            {
                "sli": name,
                "objective": newest.objective,
                "windows": len(mine),
                "newest": f"{newest.grain} {window_name(newest, config)} {slice_name(dict(newest.slice))}",
                "value": newest.value,
                "coverage": newest.coverage,
                "maturity": newest.maturity,
            }
        )
    return told
