"""Dask by hand: `dask.dataframe.merge` with the shuffle that Dask picks, in one process of two threads.

Hourly files are put together to partitions of `SIZE`: with a partition a file it takes ten times as long.
"""

import sys
import time

import dask
import dask.dataframe as dd
import pandas as pd
from distributed import Client
from windows import report, windows

SIZE = {"aggregate_files": True, "blocksize": "64MiB"}
logs, scenario = sys.argv[1:3]
BY = ["hour", "region"] if scenario == "settled" else ["hour"]
META = {"hour": "int64", **dict.fromkeys(BY[1:], "str"), **dict.fromkeys(["n", "labelled", "tp", "fp", "fn"], "int64")}


def counted(pairs: pd.DataFrame) -> pd.DataFrame:
    """What the sums are of, a row a pair."""
    decision = pairs.score >= 0.5
    columns = {
        "hour": pairs.predicted_at.astype("datetime64[us, UTC]").astype("int64") // 3_600_000_000,
        **{name: pairs[name] for name in BY[1:]},
        "n": 1,
        "labelled": pairs.label.notna(),
        "tp": (pairs.label == 1) & decision,
        "fp": (pairs.label == 0) & decision,
        "fn": (pairs.label == 1) & ~decision,
    }
    return pd.DataFrame(columns).astype(META)


def settled(rows: pd.DataFrame, time: str, keep: str) -> pd.DataFrame:
    """One row an id; all rows of an id are in one partition."""
    return rows.sort_values(time).drop_duplicates("output_id", keep=keep)


if __name__ == "__main__":
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client:
        began = time.perf_counter()
        p = dd.read_parquet(f"{logs}/predictions", columns=["output_id", "predicted_at", "score", *BY[1:]], **SIZE)
        f = dd.read_parquet(
            f"{logs}/feedback", columns=["output_id", "label", *(["known_at"] if BY[1:] else [])], **SIZE
        )
        if scenario == "settled":
            p = p.shuffle("output_id").map_partitions(settled, "predicted_at", "first", meta=p._meta)
            f = f.shuffle("output_id").map_partitions(settled, "known_at", "last", meta=f._meta)
        pairs = p.merge(f, on="output_id", how="left")
        sums = pairs.map_partitions(counted, meta=META).groupby(BY).sum().compute()
        hours = [key if isinstance(key, tuple) else (key, None) for key in sums.index]
        found = windows((*key, *counts) for key, counts in zip(hours, sums.to_numpy().tolist(), strict=True))
        report(found, seconds=time.perf_counter() - began, version=dask.__version__)
