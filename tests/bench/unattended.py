"""A year of runs that nobody watches: files and bytes of the store, and what a run takes, as the year goes by.

    python tests/bench/unattended.py [--every-hour]

The first 200 and the last 100 runs are hourly; with `--every-hour` so are those between, otherwise they are one a day,
with all files and hours of that day. What counts is CPU time, as a ratio. Limit: a small model, five predictions an
hour, whose hours pass at once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from measure import record

sys.path.insert(0, str(Path(__file__).parents[1]))

from unattended import Unattended

from sli.maintenance.sizes import table_sizes
from sli.publishing.store import Store

FIRST, LAST, DAYS = 200, 100, 352
LOOKS = 120
"""How often the store is looked at."""


def looked_at(job: Unattended) -> dict[str, int]:
    """Its age in hours, its files and bytes, and those of them with rows that are published."""
    sizes, paths = table_sizes(Store(job.config.store)), list(job.files())
    return {
        "hours": job.hours,
        "files": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "live_files": sum(size.live_files for size in sizes),
        "live_bytes": sum(size.live_bytes for size in sizes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every-hour", action="store_true")
    given = parser.parse_args()
    runs = [1] * FIRST + ([1] * 24 * DAYS if given.every_hour else [24] * DAYS) + [1] * LAST
    seconds, looks, read_then = [], [], {}
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        job = Unattended(Path(temporary))
        for number, hours in enumerate(runs, 1):
            began = time.process_time()
            job.pass_hours(hours)
            seconds.append(time.process_time() - began)
            if number % (len(runs) // LOOKS) == 0 or number == len(runs):
                looks.append(looked_at(job))
                print(number, looks[-1], f"{seconds[-1]:.2f} s", flush=True)
            if number % (len(runs) // 12) == 0:
                read_then[job.now] = job.results()
        same = sum(job.results(as_of).equals(rows) for as_of, rows in read_then.items())
    second, last = (statistics.median(some) for some in (seconds[FIRST - 100 : FIRST], seconds[-LAST:]))
    print(f"last 100 / second 100 runs, CPU time: {last / second:.2f}; {same} of {len(read_then)} times read as then")
    figures = {"runs": len(runs), "looks": looks, "second_100": second, "last_100": last}
    record("unattended", {**figures, "read_then": len(read_then), "read_the_same": same})


if __name__ == "__main__":
    main()
