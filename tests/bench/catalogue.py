"""What SLIs and slices cost: all binary SLIs against accuracy alone, a thousand slices against none.

Each pair takes turns on the same logs, hourly and daily windows and since deployment; what counts is the ratio, of
seconds and of CPU (that of the whole process, imports too). Limit: one process, in-process Dask; reading the logs and
joining them is in both sides of each ratio.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from measure import config, generated, measured, paired, record

from sli.slis import entries
from sli.slis.kinds.lists import ListState

RUN = """
import json, sys, time
import sli, sli.runs.recompute
from sli.config.load import checked
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
        if entry.make.__module__ in (
            "sli.slis.catalogue.binary",
            "sli.slis.catalogue.calibration",
            "sli.slis.catalogue.scores",
        ):
            needed = [p.name for p in inspect.signature(entry.make).parameters.values() if p.default is p.empty]
            given = {key: NEEDED[key] for key in needed}
            states = entry.make(**given).states.values()
            listed = any(isinstance(state, ListState) and state.keyed for state in states)
            if distributions or not listed:
                found.append({"sli": name, **given})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        size = ["--predictions", str(given.predictions), "--slices", SLICES]
        logs, store = generated(given.folder or Path(temporary), *size), Path(temporary) / "store"
        base = config(logs, store)
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
            runs: list[list[dict[str, Any]]] = []
            for _ in range(given.rounds):
                runs.append([])
                for tree in trees:
                    shutil.rmtree(store, ignore_errors=True)
                    runs[-1].append(measured(RUN, json.dumps(tree), "2026-06-01"))
            found.append(paired(name, [[run["seconds"] for run in turn] for turn in runs]))
            found.append(paired(f"{name}: CPU", [[run["cpu"] for run in turn] for turn in runs]))
    print(record("catalogue", {"predictions": given.predictions, "pairs": found}))


if __name__ == "__main__":
    main()
