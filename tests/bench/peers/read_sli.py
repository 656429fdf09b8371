"""sli: a store is made by one run, then the newest cumulative accuracy is read, by `sli.read` and by DuckDB."""

import json
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import duckdb
from deltalake import DeltaTable
from measure import config

import sli
import sli.runs.recompute
from sli.config.load import checked

logs, rounds = sys.argv[1:]
READS = 5 * int(rounds)  # they take milliseconds


def timed(read) -> tuple[list[float], float]:
    """Seconds of each reading after a first one, and what was read."""
    found, seconds = read(), []
    for _ in range(READS):
        began = time.perf_counter()
        again = read()
        seconds.append(time.perf_counter() - began)
        assert again == found
    return seconds, found


with tempfile.TemporaryDirectory(prefix="sli-bench-") as store:
    chosen = checked(config(Path(logs), Path(store)))
    began = time.perf_counter()
    sli.run(chosen, as_of="2026-06-01")
    load = time.perf_counter() - began
    whole = sli.read(chosen, sli="accuracy", grain="cumulative").iloc[-1]
    day = whole.window_start.floor("D") + (whole.window_end - whole.window_start).floor("D") - timedelta(days=1)

    def by_read() -> float:
        return float(sli.read(store, sli="accuracy", grain="cumulative", slice={}, start=day).value.iloc[-1])

    def by_duckdb() -> float:
        results = DeltaTable(f"{store}/results").to_pyarrow_dataset(
            file_pruning_predicate=[("grain", "=", "cumulative"), ("day", ">=", f"{day:%Y-%m-%d}")]
        )
        with duckdb.connect() as con:
            con.register("results", results)
            query = "SELECT max_by(value, window_end) FROM results WHERE sli = 'accuracy' AND len(slice_by) = 0"
            return float(con.execute(query).fetchone()[0])

    (seconds, value), (direct, same) = timed(by_read), timed(by_duckdb)
    assert same == value
print(
    json.dumps({"seconds": seconds, "direct": direct, "accuracy": value, "labelled": int(whole.labelled), "load": load})
)
