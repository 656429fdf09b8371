"""sli, the whole job: one run from nothing; what it publishes is read back afterwards, for the comparison."""

import json
import sys
import tempfile
import time
from pathlib import Path

import duckdb
from deltalake import DeltaTable
from measure import config

import sli
import sli.runs.recompute
from sli.config.load import checked

SLIS = [
    *("accuracy", "precision", "recall", "specificity", "f1", "balanced_accuracy", "mcc", "log_loss", "brier"),
    *("roc_auc", "average_precision", {"name": "score_p90", "sli": "quantile", "q": 0.9}),
]
SLICE_BY = [[], ["region"], ["device"]]
GRAINS = ["hour", "day", "week", "month", "cumulative", {"size": "7d", "every": "1d"}]
TABLE = """
    SELECT grain, epoch_us(window_end) // 1000000 AS ends,
        coalesce(element_at(slice, 'region')[1], element_at(slice, 'device')[1], '') AS slice,
        sli, value, coalesce(error_bound, 0) AS bound
    FROM published
"""

if __name__ == "__main__":
    logs, table = sys.argv[1:3]
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as store:
        tree = config(Path(logs), Path(store), slis=SLIS, slice_by=SLICE_BY, grains=GRAINS)
        chosen, phases, last = checked(tree), {}, ["", 0.0]

        def progress(step: str, done: int = 0, *_: object) -> None:
            """Add up the seconds of CPU of each step, some of which are told only once a part of them is done."""
            now, name = time.process_time(), step if done else last[0]
            phases[name] = phases.get(name, 0.0) + now - last[1]
            last[:] = [step, now]

        last[1] = time.process_time()
        began = time.perf_counter()
        outcome = sli.run(chosen, as_of="2026-06-01", progress=progress)
        seconds = time.perf_counter() - began
        progress("")
        print(json.dumps({"seconds": seconds, "results": outcome.results, "phases": phases}))
        published = DeltaTable(f"{store}/results").to_pyarrow_table()
        duckdb.sql(TABLE).write_parquet(table)
