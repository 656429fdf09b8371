"""What a command costs before it does anything: imports, nothing to do on little and on much, `show` and `query`.

    python tests/bench/fixed.py --predictions 1000000 --days 10 100

`show` and `query` answer from a year of flights, which `sli demo` makes. Limit: each process starts with its files in
the page cache.
"""

from __future__ import annotations

import argparse
import json
import resource
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
    "sli.query": "import sli; sli.query",
    "numpy, pandas, pyarrow": "import numpy, pandas, pyarrow",
    "these, duckdb, pydantic, deltalake": "import numpy, pandas, pyarrow, duckdb, pydantic, deltalake",
    "these, scipy.special": "import numpy, pandas, pyarrow, duckdb, pydantic, deltalake, scipy.special",
}
"""Python alone, sli whose parts are imported when they are first named, three of these, and what these need."""
COMMANDS = {"sli run, nothing to do": ["run"], "sli query": ["query", "accuracy"], "sli show": ["show"]}
"""Commands for a year of flights, without the config."""


def seconds(command: Sequence[str]) -> float:
    """Of a whole process."""
    return used(command)[0]


def used(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of a whole process, and those of CPU."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def on_flights(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of CPU of each of COMMANDS."""
    sli, config = str(Path(sys.executable).with_name("sli")), str(folder / "flights.yaml")
    if not Path(config).exists():
        seconds([sli, "demo", "--folder", str(folder)])
    seconds([sli, "run", config])
    spent: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, (command, *more) in COMMANDS.items():
            spent[name].append(used([sli, command, config, *more])[1])
    return {name: spread(each) for name, each in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    starts: dict[str, list[tuple[float, float]]] = {name: [] for name in STARTS}
    for _ in range(given.rounds):
        for name, code in STARTS.items():
            starts[name].append(used([sys.executable, "-c", code]))
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
        flights = on_flights((given.folder or Path(temporary)) / "demo", given.rounds)
    times = {name: spread(wall for wall, _ in each) for name, each in starts.items()}
    cpu = {name: spread(cpu for _, cpu in each) for name, each in starts.items()}
    print({name: (round(times[name]["median"], 3), round(cpu[name]["median"], 3)) for name in starts})
    print({name: round(each["median"], 3) for name, each in flights.items()})
    print(record("commands", {"cpu": cpu, "commands": flights}))
    print(record("fixed", {"starts": times, "idle": idle}))


if __name__ == "__main__":
    main()
