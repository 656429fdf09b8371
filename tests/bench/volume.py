"""Much traffic: a first run of 3 days, each further hour, two workers of little memory, and a query of a distribution.

    python tests/bench/volume.py --hourly 200000 --rounds 3

7 binary SLIs of which one is a distribution, 56 slices, 4 grains. The late labels of an hour touch about 60 hours.
`--profile FOLDER` leaves a profile of one further hour there. Limit: logs and store lie on a local disk.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hourly import Service
from measure import generated, measured, paired, record, spread

DAYS = 3
SLIS = ["accuracy", "precision", "recall", "f1", "log_loss", "brier", "roc_auc"]
GRAINS = ["hour", "day", "week", "cumulative"]
QUERY = """
import json, sys, time
import sli
from sli.config.load import checked
config, times = checked(json.loads(sys.argv[1])), []
for _ in range(7):
    began = time.perf_counter()
    rows = len(sli.query(config, "roc_auc", size="6h"))
    times.append(time.perf_counter() - began)
print(json.dumps({"times": times, "rows": rows}))
"""


def everything(service: Service) -> dict[str, Any]:
    """A run from nothing."""
    shutil.rmtree(service.tree["store"], ignore_errors=True)
    run = service.run()
    print(f"everything: {shown(run)}", flush=True)
    return run


def shown(run: dict[str, Any]) -> str:
    return f"{run['seconds']:.2f} s, {run['cpu']:.1f} s of CPU, {run['peak_mb']:,.0f} MB, {run['tiles']} hours"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hourly", type=int, default=200_000, help="predictions an hour")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", type=Path, help="a folder for the profile of one more hour")
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    # Beside the logs, since services link to their files.
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sli-bench-", dir=given.folder) as temporary:
        size = ["--predictions", str(given.hourly * 24 * (DAYS + 2)), "--days", str(DAYS + 2)]
        source = generated(given.folder or Path(temporary), *size)
        asked = {"slis": SLIS, "grains": GRAINS}
        service, two = (
            Service(Path(temporary) / name, source, DAYS, ["region", "device"], **asked, **more)
            for name, more in {"one": {}, "two": {"memory": "1GB", "dask": {"workers": 2}}}.items()
        )
        both = [(everything(two), everything(service)) for _ in range(given.rounds)]
        workers = paired("two workers / one process", [[run["seconds"] for run in runs] for runs in both])
        hours = []
        for _ in range(given.rounds + 1):
            service.pass_hour()
            hours.append(service.run())
            print(f"an hour more: {shown(hours[-1])}", flush=True)
        del hours[0]  # it writes the index of ids
        query = measured(QUERY, json.dumps(service.tree))
        print(f"query: {spread(query['times'])['median']:.3f} s, {query['rows']} windows", flush=True)
        if given.profile:
            service.pass_hour()
            print(service.run(given.profile / f"volume-{given.hourly}.profile")["steps"])
    measures = ("seconds", "cpu", "peak_mb")
    figures = {
        "everything": {name: spread(run[name] for _, run in both) for name in measures},
        "two_workers": {name: spread(run[name] for run, _ in both) for name in measures},
        "ratio": workers["ratio"],
        "hour": {name: spread(run[name] for run in hours) for name in measures},
        "hours_recomputed": [run["tiles"] for run in hours],
        "query": spread(query["times"]),
    }
    print(record(f"volume-{given.hourly}", {"hourly_predictions": given.hourly, "days": DAYS, **figures}))


if __name__ == "__main__":
    main()
