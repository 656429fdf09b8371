"""A config far wider than its logs: 26 SLIs, drift and Python functions among them, 6 slicings, 7 grains.

    python tests/bench/wide.py --predictions 50000 --memory 2GB

What it takes follows the results, of which there are millions, and not the rows. Limit: one run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import RUN, config, generated, measured, record

HERE = Path(__file__).parent
SLICES = "region:5,device:50,plan:3"
SLICE_BY = [[], ["region"], ["device"], ["plan"], ["plan", "region"], ["device", "region"]]
GRAINS = [
    "hour",
    "day",
    "week",
    "cumulative",
    {"size": "24h", "every": "1h"},
    {"size": "7d", "every": "1d"},
    {"size": "14d", "every": "1d"},
]
FIXED = {"start": "2026-01-01", "end": "2026-01-08"}
SLIS: list[Any] = [
    *("accuracy", "precision", "recall", "f1", "balanced_accuracy", "mcc", "log_loss", "brier"),
    *("roc_auc", "average_precision", "ece"),
    {"sli": "quantile", "q": [0.5, 0.9]},
    {"sli": "mean"},
    {"sli": "std"},
    {"name": "devices", "sli": "distinct_count", "of": "device"},
    {"name": "mode_of_region", "sli": "mode_share", "of": "region"},
    {"sli": "psi", "against": FIXED},
    {"sli": "ks"},
    {"sli": "wasserstein", "against": FIXED},
    {"sli": "jensen_shannon"},
    {"sli": "chi_squared", "of": "region"},
    {"sli": "mean_difference"},
    {"name": "f2", "python": "wide:f2"},
    {"name": "kappa", "python": "wide:kappa"},
    {"name": "spread", "python": "wide:spread", "of": "prediction"},
]
BUILT_IN = ["specificity", "positive_rate", "prediction_rate"]
"""What stands in for the Python functions where they are left out."""


def f2(label: Any, decision: Any) -> float:
    """F-measure that weighs recall twice."""
    hit = float(((label == 1) & (decision == 1)).sum())
    return 5 * hit / (4 * float((label == 1).sum()) + float((decision == 1).sum()))


def kappa(label: Any, decision: Any) -> float:
    """Agreement beyond chance (Cohen 1960)."""
    same, p, q = (label == decision).mean(), label.mean(), decision.mean()
    chance = p * q + (1 - p) * (1 - q)
    return float((same - chance) / (1 - chance))


def spread(label: Any, score: Any) -> float:
    """Median score of the positive class less that of the other."""
    return float(np.median(score[label == 1]) - np.median(score[label == 0]))


def wide(logs: Path, store: Path, python: bool = True, **more: Any) -> dict[str, Any]:
    """The config."""
    slis = SLIS if python else [sli for sli in SLIS if "python" not in sli] + BUILT_IN
    return config(logs, store, folder=str(HERE), slice_by=SLICE_BY, grains=GRAINS, slis=slis, **more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=50_000)
    parser.add_argument("--memory", default="2GB", help="`memory:` of the config")
    parser.add_argument("--built-in", action="store_true", help="no Python functions")
    parser.add_argument("--workers", type=int, default=0, help="local workers; 0: in-process")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        size = ["--predictions", str(given.predictions), "--slices", SLICES]
        logs = generated(given.folder or Path(temporary), *size)
        dask = {"workers": given.workers} if given.workers else "in-process"
        tree = wide(logs, Path(temporary) / "store", not given.built_in, memory=given.memory, dask=dask)
        found = measured(RUN, json.dumps(tree), "2026-02-15", seconds=given.seconds)
    print(f"{found['results']:,} results: {found['seconds']:.0f} s, {found['peak_mb']:,.0f} MB, {found['stages_mb']}")
    print(record("wide", {"predictions": given.predictions, "memory": given.memory, **found}))


if __name__ == "__main__":
    main()
