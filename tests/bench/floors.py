"""The least that some steps can take: the kernel alone, by hand, in seconds of CPU on one core.

    python tests/bench/floors.py

What an aim asks for cannot be less than this. Limit: files lie in the page cache; nothing is checked, kept or written.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from measure import generated, record, spread

BY_HOUR = "epoch_us(p.predicted_at) // 3600000000"


def used(work: Callable[[], object], rounds: int) -> dict[str, Any]:
    """Seconds of CPU of some work."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return spread(times)


def files_of(logs: Path, hours: int) -> list[str]:
    """The files of the newest hours of both logs."""
    return [
        str(file) for log in ("predictions", "feedback") for file in sorted((logs / log).rglob("*.parquet"))[-hours:]
    ]


def look_up(files: Sequence[str], share: int) -> Callable[[], object]:
    """Find the rows of one id in so many, of which only the hashes are known, as an hourly run does."""
    con = duckdb.connect(config={"threads": 1})
    con.execute(f"CREATE TABLE keys AS SELECT DISTINCT hash(output_id) AS key FROM read_parquet({files[:1]!r}) "
                f"WHERE hash(output_id) % {share} = 0")  # fmt: skip
    sql = f"SELECT count(*) FROM read_parquet({list(files)!r}) WHERE hash(output_id) IN (SELECT key FROM keys)"
    return lambda: con.execute(sql).fetchall()


def join(logs: Path) -> Callable[[], object]:
    """Join both logs, and count by hour, region and device."""
    con = duckdb.connect(config={"threads": 1})
    sql = (
        f"SELECT {BY_HOUR} AS h, region, device, count(*), count(label), sum((score >= 0.5)::INT) "
        f"FROM read_parquet('{logs}/predictions/**/*.parquet') p "
        f"LEFT JOIN read_parquet('{logs}/feedback/**/*.parquet') f USING (output_id) GROUP BY ALL"
    )
    return lambda: con.execute(sql).fetchall()


def sort(logs: Path) -> Callable[[], object]:
    """Sort the scores within each hour of each slice, of all three slicings: what hours of a distribution rest on."""
    columns = duckdb.sql(
        f"SELECT {BY_HOUR} AS h, hash(region) % 1000 AS region, hash(device) % 1000 AS device, score "
        f"FROM read_parquet('{logs}/predictions/**/*.parquet') p"
    ).fetchnumpy()
    hour, score = columns["h"].astype(np.int64) * 1000, columns["score"]
    cells = [hour, hour + columns["region"].astype(np.int64), hour + columns["device"].astype(np.int64)]
    return lambda: [np.lexsort((score, cell)) for cell in cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        folder = given.folder or Path(temporary)
        whole = generated(folder, "--predictions", "1000000")
        hour = generated(folder, "--predictions", str(200_000 * 24 * 5), "--days", "5")
        late = generated(folder, "--predictions", str(20_000 * 24 * 33), "--days", "33")
        kernels = {
            "join of the whole job at 1M": join(whole),
            "sort of the whole job at 1M": sort(whole),
            "ids of 66 hours of 200,000": look_up(files_of(hour, 66), 1),
            "ids of 30 days of 20,000 an hour": look_up(files_of(late, 30 * 24), 10),
        }
        found = {name: used(work, given.rounds) for name, work in kernels.items()}
    print({name: round(each["median"], 2) for name, each in found.items()})
    print(record("floors", {"seconds": found}))


if __name__ == "__main__":
    main()
