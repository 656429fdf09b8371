"""Peak memory against the number of results: more sliding windows over the same days, so that tiles stay as many.

    python tests/bench/results.py --grains 1 5 10 20 50

12 SLIs of counts and sums, 56 slices, 6 days; each grain has a window an hour, so about 100,000 results. Memory is told
stage by stage, looked at fifty times a second. Limit: one run a size, in-process Dask.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from measure import config, generated, measured, record

DAYS, HOURLY = 6, 300
SLIS = [
    *("accuracy", "precision", "recall", "f1", "specificity", "balanced_accuracy"),
    *("mcc", "log_loss", "brier", "positive_rate", "prediction_rate", "mean"),
]
RUN = """
import json, os, sys, threading, time
import sli, sli.runs.recompute
from sli.config.load import checked
config = checked(json.loads(sys.argv[1]))
peaks, stage = {}, "starting"
def looks():
    while True:
        with open("/proc/self/statm") as file:
            peaks[stage] = max(peaks.get(stage, 0), int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        time.sleep(0.02)
def progress(what, *_):
    global stage
    stage = what
threading.Thread(target=looks, daemon=True).start()
began = time.perf_counter()
outcome = sli.run(config, as_of="2027-06-01", future=True, progress=progress)
print(json.dumps({"seconds": time.perf_counter() - began, "results": outcome.results,
                  "stages_mb": {name: round(peak / 1e6) for name, peak in peaks.items()}}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grains", type=int, nargs="+", default=[1, 5, 10, 20])
    parser.add_argument("--memory", default="2GB", help="`memory:` of the config")
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    sizes = []
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        logs = generated(given.folder or Path(temporary), "--predictions", str(DAYS * 24 * HOURLY), "--days", str(DAYS))
        for grains in given.grains:
            tree = config(
                logs,
                Path(temporary) / f"store-{grains}",
                slice_by=[[], ["region"], ["device"]],
                grains=[{"size": f"{size}h", "every": "1h"} for size in range(2, 2 + grains)],
                slis=SLIS,
                memory=given.memory,
            )
            found = measured(RUN, json.dumps(tree))
            sizes.append({"grains": grains, **found})
            stages = ", ".join(f"{name} {peak:,}" for name, peak in found["stages_mb"].items())
            print(f"{found['results']:,} results: {found['seconds']:.1f} s, {found['cpu']:.1f} s of CPU, "
                  f"{found['peak_mb']:,.0f} MB ({stages})", flush=True)  # fmt: skip
    print(record("results", {"memory": given.memory, "sizes": sizes}))


if __name__ == "__main__":
    main()
