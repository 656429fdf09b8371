"""What Python functions cost: a run with three of them against the same run without, and the functions' own code.

    python tests/bench/functions.py --predictions 50000 --rounds 3

6 slicings and 4 grains of 30 days and 6, so about 865 hours; both take turns on the same logs by `--workers` workers,
each function is resampled for its interval. Limit: how dear a function is decides the ratio; these take about 50 us.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from measure import config, generated, measured, paired, record, spread
from wide import SLICE_BY, SLICES

HERE = Path(__file__).parent
GRAINS = ["hour", "day", "week", "cumulative"]
BUILT_IN = ["accuracy", "precision", "recall", "log_loss", "roc_auc"]
FUNCTIONS = [
    {"name": "f2", "python": "wide:f2"},
    {"name": "kappa", "python": "wide:kappa"},
    {"name": "spread", "python": "wide:spread", "of": "prediction"},
]
RUN = """
import json, sys, time
import sli, sli.runs.recompute
from sli.config.load import checked
if __name__ == "__main__":
    config, began = checked(json.loads(sys.argv[1])), time.perf_counter()
    outcome = sli.run(config, as_of=sys.argv[2], future=True)
    calls = outcome.changes.calls
    print(json.dumps({"seconds": time.perf_counter() - began, "results": outcome.results,
                      "calls": calls.number, "own": calls.seconds}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="local workers; 0: in-process")
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        size = ["--predictions", str(given.predictions), "--slices", SLICES, "--days", "36"]
        logs, store = generated(given.folder or Path(temporary), *size), Path(temporary) / "store"
        dask = {"workers": given.workers} if given.workers else "in-process"
        base = config(logs, store, folder=str(HERE), slice_by=SLICE_BY, grains=GRAINS, dask=dask)
        for _ in range(given.rounds):
            runs.append([])
            for functions in (FUNCTIONS, []):
                shutil.rmtree(store, ignore_errors=True)
                tree = {**base, "slis": [*BUILT_IN, *functions]}
                runs[-1].append(measured(RUN, json.dumps(tree), "2026-06-01"))
                print({name: round(runs[-1][-1][name], 1) for name in ("seconds", "cpu", "calls", "own")}, flush=True)
    name = "with functions / without"
    figures = {
        "predictions": given.predictions,
        "workers": given.workers,
        "pairs": [
            paired(name, [[run["seconds"] for run in turn] for turn in runs]),
            paired(f"{name}: CPU", [[run["cpu"] for run in turn] for turn in runs]),
        ],
        "calls": runs[-1][0]["calls"],
        "own": spread(turn[0]["own"] for turn in runs),
    }
    print(record("functions", figures))


if __name__ == "__main__":
    main()
