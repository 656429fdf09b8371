"""pandas by hand: both logs in memory, `merge`, `groupby`."""

import sys
import time

import pandas as pd
import pyarrow as pa
from windows import report, windows

logs, scenario = sys.argv[1:3]
pa.set_cpu_count(2)
began = time.perf_counter()
by = ["hour", "region"] if scenario == "settled" else ["hour"]
p = pd.read_parquet(f"{logs}/predictions", columns=["output_id", "predicted_at", "score", *by[1:]])
f = pd.read_parquet(f"{logs}/feedback", columns=["output_id", "label", *(["known_at"] if by[1:] else [])])
if scenario == "settled":
    p = p.sort_values("predicted_at").drop_duplicates("output_id", keep="first")
    f = f.sort_values("known_at").drop_duplicates("output_id", keep="last")
pairs = p.merge(f, on="output_id", how="left")
decision = pairs.score >= 0.5
counted = pd.DataFrame(
    {
        "hour": pairs.predicted_at.astype("datetime64[us, UTC]").astype("int64") // 3_600_000_000,
        "predictions": 1,
        "labelled": pairs.label.notna(),
        "tp": (pairs.label == 1) & decision,
        "fp": (pairs.label == 0) & decision,
        "fn": (pairs.label == 1) & ~decision,
    }
)
for name in by[1:]:
    counted[name] = pairs[name]
sums = counted.groupby(by).sum()
hours = [key if isinstance(key, tuple) else (key, None) for key in sums.index]
found = windows((*key, *counts) for key, counts in zip(hours, sums.to_numpy().tolist(), strict=True))
report(found, seconds=time.perf_counter() - began, version=pd.__version__)
