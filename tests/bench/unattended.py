"""A year of hourly runs that nobody watches: files and bytes of the store, and what a run takes, as the year goes by.

    python tests/bench/unattended.py --hours 8760

Runs are in one process, and what counts is CPU time, as ratios. Limit: a small model, five predictions an hour, whose
hours pass at once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from measure import record

sys.path.insert(0, str(Path(__file__).parents[1]))

from unattended import Unattended

from sli.maintenance.sizes import table_sizes
from sli.publishing.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, default=8_760)
    given = parser.parse_args()
    seconds, points = [], []
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        job = Unattended(Path(temporary))
        read_then = {}
        for hour in range(1, given.hours + 1):
            began = time.process_time()
            job.pass_hours()
            seconds.append(time.process_time() - began)
            if hour % 73 == 0 or hour == given.hours:
                sizes = table_sizes(Store(job.config.store))
                paths = list(job.files())
                points.append(
                    {
                        "hours": hour,
                        "files": len(paths),
                        "bytes": sum(path.stat().st_size for path in paths),
                        "live_files": sum(size.live_files for size in sizes),
                        "live_bytes": sum(size.live_bytes for size in sizes),
                        "seconds": sum(seconds[-73:]) / len(seconds[-73:]),
                    }
                )
                print(points[-1], flush=True)
            if hour % 730 == 0:
                read_then[job.now] = job.results()
        same = sum(job.results(as_of).equals(rows) for as_of, rows in read_then.items())
    second, last = sorted(seconds[100:200])[50], sorted(seconds[-100:])[50]
    ratio = {"last_100_to_second_100": last / second}
    print(
        f"last 100 / second 100 runs, medians of CPU time: {last / second:.2f}; {same} of {len(read_then)} months same"
    )
    record("unattended", {"points": points, **ratio, "months": len(read_then), "months_same": same})


if __name__ == "__main__":
    main()
