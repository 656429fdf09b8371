"""What SLIs and slices cost: all binary SLIs against accuracy alone, a thousand slices against none.

Each pair takes turns on the same logs, hourly and daily windows and since deployment; what counts is the ratio. Limit:
one process, in-process Dask; reading the logs and joining them is in both sides of each ratio.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from full import config, measured

from sli.slis import entries

RUN = """
import json, sys, time
import sli, sli.recompute
from sli.loading import checked
config = checked(json.loads(sys.argv[1]))
started = time.perf_counter()
sli.run(config, as_of="2026-03-01")
print(json.dumps({"seconds": time.perf_counter() - started}))
"""
SLICES = "region:5,device:50,plan:3,shop:1000"
NEEDED = {"k": 10, "bin": 5, "target": 0.6}
"""For parameters that must be given."""


def every_sli(distributions: bool = True) -> list[Any]:
    """Each SLI of a binary task, once; not those of values, operation and drift, which every task has.

    Without `distributions` those made of counts and sums alone.
    """
    found = []
    for name, entry in entries("binary").items():
        if entry.make.__module__ in ("sli.slis.binary", "sli.slis.scores"):
            needed = [p.name for p in inspect.signature(entry.make).parameters.values() if p.default is p.empty]
            given = {key: NEEDED[key] for key in needed}
            listed = any(state.kind in ("histogram", "groups") for state in entry.make(**given).states.values())
            if distributions or not listed:
                found.append({"sli": name, **given})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, help=f"logs made by generate.py --slices {SLICES} (default: made anew)")
    parser.add_argument("--predictions", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as folder:
        logs = given.logs
        if logs is None:
            logs = Path(folder) / "logs"
            script = str(Path(__file__).with_name("generate.py"))
            size = ["--predictions", str(given.predictions), "--slices", SLICES]
            subprocess.run([sys.executable, script, str(logs), *size], check=True)
        store = Path(folder) / "store"
        base = config(logs, store, None)
        three = {**base, "slice_by": [[], ["region"], ["device"], ["plan"]]}
        pairs = {
            "all binary SLIs / accuracy alone, 3 slice columns": (
                {**three, "slis": every_sli()},
                {**three, "slis": ["accuracy"]},
            ),
            "all of counts and sums / accuracy alone, 3 slice columns": (
                {**three, "slis": every_sli(distributions=False)},
                {**three, "slis": ["accuracy"]},
            ),
            "1,000 slices / none, accuracy, precision, recall": ({**base, "slice_by": [[], ["shop"]]}, base),
        }
        for name, trees in pairs.items():
            ratios = []
            for _ in range(given.rounds):
                seconds = []
                for tree in trees:
                    shutil.rmtree(store, ignore_errors=True)
                    seconds.append(measured(RUN, json.dumps(tree))["seconds"])
                ratios.append(seconds[0] / seconds[1])
                print(f"{name}: {seconds[0]:.1f} s / {seconds[1]:.1f} s = {ratios[-1]:.2f}", flush=True)
            print(f"{name}: median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
