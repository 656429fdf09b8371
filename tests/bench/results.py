"""Peak memory against the number of results: more sliding windows over the same days, so that tiles stay as many.

    python tests/bench/results.py --grains 1 5 10 20 50
    python tests/bench/results.py --grains 50 --workers 0 1 2

12 SLIs of counts and sums, 56 slices, 6 days; each grain has a window an hour, so about 100,000 results. Memory is told
stage by stage, of the process that runs, and of all processes together. One number of grains alone, with several of
workers, tells what workers gain. Limit: one run a size and number of workers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path

from measure import RUN, config, generated, measured, record

DAYS, HOURLY = 6, 300
SLIS = [
    *("accuracy", "precision", "recall", "f1", "specificity", "balanced_accuracy"),
    *("mcc", "log_loss", "brier", "positive_rate", "prediction_rate", "mean"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grains", type=int, nargs="+", default=[1, 5, 10, 20])
    parser.add_argument("--workers", type=int, nargs="+", default=[0], help="local workers; 0: in-process")
    parser.add_argument("--memory", default="2GB", help="`memory:` of the config")
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    sizes = []
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        logs = generated(given.folder or Path(temporary), "--predictions", str(DAYS * 24 * HOURLY), "--days", str(DAYS))
        for grains, workers in itertools.product(given.grains, given.workers):
            tree = config(
                logs,
                Path(temporary) / f"store-{grains}-{workers}",
                slice_by=[[], ["region"], ["device"]],
                grains=[{"size": f"{size}h", "every": "1h"} for size in range(2, 2 + grains)],
                slis=SLIS,
                memory=given.memory,
                dask={"workers": workers} if workers else "in-process",
            )
            found = measured(RUN, json.dumps(tree), "2027-06-01")
            sizes.append({"grains": grains, "workers": workers, **found})
            stages = ", ".join(f"{name} {peak:,}" for name, peak in found["stages_mb"].items())
            print(f"{found['results']:,} results, {workers} workers: {found['seconds']:.1f} s, {found['cpu']:.1f} s of "
                  f"CPU, {found['peak_mb']:,.0f} MB ({stages})", flush=True)  # fmt: skip
    print(record("results" if len(given.grains) > 1 else "spread", {"memory": given.memory, "sizes": sizes}))


if __name__ == "__main__":
    main()
