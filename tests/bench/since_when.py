"""How often `since_when` raises an alarm although nothing changes, and how late if something does. Simulated.

    python tests/bench/since_when.py --config demo/flights.yaml --runs 1000

Without a change: weeks of the flights of the demo, which must be published, drawn with replacement; and shares whose
log odds vary from day to day. Limit: what changes in the real year within a block of weeks counts as no change.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import record

import sli

sys.path.insert(0, str(Path(__file__).parents[1]))
from days import BASELINE, LENGTH, YEAR, Series, in_blocks, shares

SLIS = {
    "accuracy": "higher",
    "recall": "higher",
    "precision": "higher",
    "roc_auc": "higher",
    "log_loss": "lower",
    "feedback_delay": "lower",
}
SLICES: tuple[dict[str, str], ...] = ({}, {"origin": "JFK"}, {"origin": "LGA"}, {"origin": "EWR"})
CHANGE = BASELINE + 60
"""The day of a change."""
LONG = 100
"""Days that a change lasts that ends."""
SIZES = (100, 1_000, 10_000)
CHANGES = {"accuracy": -0.05, "recall": -0.05, "precision": -0.05, "roc_auc": -0.05, "log_loss": 0.1}


def real_days(config: str, name: str, slice: dict[str, str]) -> Series:
    """The final days of an SLI, from the first Monday on."""
    rows = sli.query(config, name, size="1d", slice=slice)
    rows = rows[rows.maturity == "final"]
    first = int(np.argmax(rows.window_start.dt.tz_convert("America/New_York").dt.day_of_week.to_numpy() == 0))
    return Series(*(rows[column].to_numpy()[first:] for column in ("value", "ci_low", "ci_high")))


def false_alarms(series: Series, better: str = "higher", weekly: bool = True) -> dict[str, float]:
    """The share of years with an alarm, and of days on which one stands."""
    standing = series.alarms(better, weekly).standing[:, BASELINE:]
    return {"a year": float(standing.any(axis=1).mean()), "standing": float(standing.mean())}


def detection(series: Series, better: str = "higher") -> dict[str, float | None]:
    """How late a change is found, how far the first day lies from it, and whether the alarm stands at last."""
    told = series.alarms(better)
    before = told.standing[:, CHANGE - 1]
    standing = told.standing[~before][:, CHANGE:]
    late = np.where(standing.any(axis=1), np.argmax(standing, axis=1) + 1, LENGTH)
    found = late < LENGTH
    first = told.first[~before][:, CHANGE:][np.arange(len(late)), np.minimum(late, LENGTH - CHANGE) - 1][found] - CHANGE
    return {
        "median": float(np.median(late)) if np.median(late) < LENGTH else None,
        "p90": float(np.quantile(late, 0.9)) if np.quantile(late, 0.9) < LENGTH else None,
        "within 60 days": float((late <= 60).mean()),
        "onset off by": float(np.median(np.abs(first))) if found.any() else None,
        "stands at the end": float(standing[found][:, -1].mean()) if found.any() else None,
    }


def recovery(series: Series, better: str = "higher") -> float | None:
    """After how many days an alarm ends (median) once the change is over."""
    standing = series.alarms(better).standing
    standing = standing[standing[:, CHANGE + LONG - 1]][:, CHANGE + LONG :]
    return (
        float(np.median(np.where(standing.all(axis=1), YEAR, np.argmin(standing, axis=1)))) if len(standing) else None
    )


def of_real_days(config: str, runs: int, random: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
    still, changed = [], []
    for name, better in SLIS.items():
        for slice in SLICES:
            days = real_days(config, name, slice)
            text = slice.get("origin", "all")
            for weeks in (1, 3):
                series = in_blocks(random, runs, days, weeks)
                row = {"sli": name, "slice": text, "weeks": weeks, **false_alarms(series, better)}
                still.append({**row, "without weekdays": false_alarms(series, better, weekly=False)["a year"]})
                if weeks == 1 and not slice and name in CHANGES:
                    by = CHANGES[name]
                    row = {"sli": name, "change": by, **detection(series.moved(by, CHANGE), better)}
                    changed.append({**row, "ends after": recovery(series.moved(by, CHANGE, CHANGE + LONG), better)})
                    plain = detection_without_weekdays(series.moved(by, CHANGE), better)
                    changed[-1]["within 60 days without weekdays"] = plain
    return {"real": still, "real changes": changed}


def detection_without_weekdays(series: Series, better: str) -> float:
    standing = series.alarms(better, weekly=False).standing[:, CHANGE : CHANGE + 60]
    return float(standing.any(axis=1).mean())


def of_shares(runs: int, random: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
    still, changed = [], []
    for share in (0.6, 0.9):
        for spread in (0.0, 0.1, 0.3):
            for n in SIZES:
                world = {"share": share, "spread": spread, "n": n}
                still.append({**world, **false_alarms(shares(random, runs, n, share, spread))})
                for drop in (0.02, 0.05):
                    series = shares(random, runs, n, share, spread, drop, CHANGE)
                    changed.append({**world, "drop": drop, **detection(series)})
    return {"shares": still, "share drops": changed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    random = np.random.default_rng(1)
    figures = {**of_real_days(options.config, options.runs, random), **of_shares(options.runs, random)}
    print(record("since_when", {"runs": options.runs, **figures}, ("numpy", "scipy")))


if __name__ == "__main__":
    main()
