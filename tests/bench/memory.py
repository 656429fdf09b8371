"""Peak memory of a full recompute with two worker processes that are killed at `--limit` MiB each.

    python tests/bench/memory.py --predictions 10000000 100000000

Limit: one run a size; a run that is killed fails this benchmark.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from full import ENVIRONMENT, HERE
from measure import generated, measured, record

from sli.matching.cluster import BASE

WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, nargs="+", default=[10_000_000])
    parser.add_argument("--limit", type=int, default=2048, help="MiB of a worker process")
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    # The config's `memory` is what a task may use; its worker process is killed at a quarter more and BASE.
    memory = f"{((given.limit << 20) - BASE) * 4 // 5 >> 20}MiB"
    sizes = []
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        for predictions in given.predictions:
            logs = generated(given.folder or Path(temporary), "--predictions", str(predictions))
            found = measured(
                HERE / "peers" / "by_sli.py",
                str(logs),
                "plain",
                "/dev/null",
                json.dumps({"dask": {"workers": WORKERS}, "memory": memory}),
                seconds=4 * 3600,
                env=ENVIRONMENT,
            )
            size = sum(file.stat().st_size for file in logs.rglob("*.parquet"))
            sizes.append({"predictions": predictions, "log_mb": size / 1e6, **found})
            print(f"{predictions:,}: {found['seconds']:.1f} s, {found['peak_mb']:,.0f} MB in all, "
                  f"processes {[round(each) for each in found['processes_mb']]}", flush=True)  # fmt: skip
            path = record("memory", {"workers": WORKERS, "limit_mib": given.limit, "memory": memory, "sizes": sizes})
    print(path)


if __name__ == "__main__":
    main()
