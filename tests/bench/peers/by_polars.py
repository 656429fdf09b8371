"""Polars by hand: one lazy query over the files, streaming."""

import os
import sys
import time

os.environ["POLARS_MAX_THREADS"] = "2"
import polars as pl
from windows import report, windows

logs, scenario = sys.argv[1:3]
began = time.perf_counter()
p = pl.scan_parquet(f"{logs}/predictions/**/*.parquet", hive_partitioning=False)
f = pl.scan_parquet(f"{logs}/feedback/**/*.parquet", hive_partitioning=False)
if scenario == "settled":
    p = p.sort("predicted_at").unique("output_id", keep="first")
    f = f.sort("known_at").unique("output_id", keep="last")
region = pl.col("region") if scenario == "settled" else pl.lit(None, pl.String).alias("region")
decision, truth = pl.col("score") >= 0.5, pl.col("label")
rows = (
    p.join(f, on="output_id", how="left")
    .group_by((pl.col("predicted_at").dt.epoch("us") // 3_600_000_000).alias("hour"), region)
    .agg(
        pl.len().alias("predictions"),
        truth.count().alias("labelled"),
        ((truth == 1) & decision).sum().alias("tp"),
        ((truth == 0) & decision).sum().alias("fp"),
        ((truth == 1) & ~decision).sum().alias("fn"),
    )
    .collect(engine="streaming")
    .rows()
)
found = windows(rows)
report(found, seconds=time.perf_counter() - began, version=pl.__version__)
