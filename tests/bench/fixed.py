"""What a run costs before it does anything: the import of sli, the command with nothing to do, on little and on much.

    python tests/bench/fixed.py --predictions 1000000 --days 10 100

Limit: each process starts with its files in the page cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import config, generated, record, spread

AS_OF = "2026-06-01"
STARTS = {
    "python": "",
    "import sli": "import sli",
    "sli.run": "import sli; sli.run",
    "sli.read": "import sli; sli.read",
}
"""Python alone, sli whose parts are imported when they are first named, and two of these."""


def seconds(command: Sequence[str]) -> float:
    """Of a whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    starts: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(given.rounds):
        for name, code in STARTS.items():
            starts[name].append(seconds([sys.executable, "-c", code]))
    idle: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        for days in given.days:
            size = ["--predictions", str(given.predictions), "--days", str(days)]
            logs = generated(given.folder or Path(temporary), *size)
            path = Path(temporary) / f"{days}.yaml"
            path.write_text(json.dumps(config(logs, Path(temporary) / f"store-{days}")))
            run = [str(Path(sys.executable).with_name("sli")), "run", str(path), "--as-of", AS_OF]
            seconds(run)
            times = spread(seconds(run) for _ in range(given.rounds))
            idle.append({"days": days, "files": sum(1 for _ in logs.rglob("*.parquet")), "seconds": times})
            print(f"{days} days: nothing to do in {times['median']:.2f} s")
    times = {name: spread(each) for name, each in starts.items()}
    print({name: round(each["median"], 3) for name, each in times.items()})
    print(record("fixed", {"starts": times, "idle": idle}))


if __name__ == "__main__":
    main()
