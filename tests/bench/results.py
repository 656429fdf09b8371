"""Peak memory against the number of results: more days of the same hours, so that only the results become more.

    python tests/bench/results.py --days 6 28 56 112

12 SLIs of counts and sums, 56 slices, an hour, a day, 7 days and since deployment: about 18,000 results a day. Memory
is told stage by stage, looked at fifty times a second. Limit: one run a size, in-process Dask.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from measure import config, generated, measured, record

HOURLY = 300
SLIS = [
    *("accuracy", "precision", "recall", "f1", "specificity", "balanced_accuracy"),
    *("mcc", "log_loss", "brier", "positive_rate", "prediction_rate", "mean"),
]
GRAINS = ["hour", "day", "cumulative", {"size": "7d", "every": "1d"}]
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
    parser.add_argument("--days", type=int, nargs="+", default=[6, 28, 56, 112])
    parser.add_argument("--memory", default="2GB", help="`memory:` of the config")
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    sizes = []
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        for days in given.days:
            size = ["--predictions", str(days * 24 * HOURLY), "--days", str(days)]
            logs = generated(given.folder or Path(temporary), *size)
            tree = config(
                logs,
                Path(temporary) / f"store-{days}",
                slice_by=[[], ["region"], ["device"]],
                grains=GRAINS,
                slis=SLIS,
                memory=given.memory,
            )
            found = measured(RUN, json.dumps(tree))
            sizes.append({"days": days, **found})
            stages = ", ".join(f"{name} {peak:,}" for name, peak in found["stages_mb"].items())
            print(f"{found['results']:,} results: {found['seconds']:.1f} s, {found['cpu']:.1f} s of CPU, "
                  f"{found['peak_mb']:,.0f} MB ({stages})", flush=True)  # fmt: skip
    print(record("results", {"memory": given.memory, "sizes": sizes}))


if __name__ == "__main__":
    main()
