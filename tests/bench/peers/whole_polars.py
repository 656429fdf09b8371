"""Polars by hand, the whole job: counts and sums by hour, added up over windows; scores sorted once, then filtered."""

import json
import os
import sys
import time

os.environ["POLARS_MAX_THREADS"] = "2"

import polars as pl
from long_windows import LONG, START
from polars import col

logs, table = sys.argv[1:]
SUMS = ("labelled", "tp", "fp", "fn", "tn", "loss", "brier")


def log(name: str) -> pl.LazyFrame:
    return pl.scan_parquet(f"{logs}/{name}/**/*.parquet", hive_partitioning=False)


def to_last(values: pl.Expr) -> pl.Expr:
    """Running values, where those of equal scores have that of the last of them."""
    return pl.when(col("score") != col("score").shift(-1, fill_value=-1)).then(values).backward_fill()


began = time.perf_counter()
hour = (col("predicted_at").dt.epoch("s") // 3600 - START).cast(pl.Int32).alias("hour")
pairs = (
    log("predictions")
    .join(log("feedback").select("output_id", "label"), on="output_id", how="left")
    .select(hour, "region", "device", "score", "label")
    .sort("score", descending=True)
    .collect()
)
slices = [pl.lit("").alias("slice"), col("region").alias("slice"), col("device").alias("slice")]
sliced = pl.concat(pairs.select(slice.cast(pl.Categorical), "hour", "score", "label") for slice in slices)
positive, called = col("label") == 1, col("score") >= 0.5
cells = sliced.group_by("hour", "slice").agg(
    col("label").count().alias("labelled"),
    (positive & called).sum().alias("tp"),
    ((col("label") == 0) & called).sum().alias("fp"),
    (positive & ~called).sum().alias("fn"),
    ((col("label") == 0) & ~called).sum().alias("tn"),
    -pl.when(positive).then("score").otherwise(1 - col("score")).clip(2.0**-52).log().filter(col("label").is_not_null())
    .sum().alias("loss"),
    ((col("score") - col("label")) ** 2).sum().alias("brier"),
)  # fmt: skip
up_to = to_last(pl.int_range(1, pl.len() + 1))
p_up_to = to_last(col("label").cum_sum())
ranked = [
    # Pairs of a negative and a positive above or alike, less pairs of a positive and a negative above or alike.
    (p_up_to.filter(col("label") == 0).sum().cast(pl.Int64) - (up_to - p_up_to).filter(positive).sum()).alias("ahead"),
    (p_up_to / up_to).filter(positive).sum().alias("precisions"),
]
labelled = sliced.filter(col("label").is_not_null()).with_columns(col("label").cast(pl.Int64))
p90 = col("score").quantile(0.9, "linear").alias("score_p90")
aggregates = ((cells, [col(name).sum() for name in SUMS]), (sliced, [p90]), (labelled, ranked))


def window(grain: str, a: int, b: int, by: list[str]) -> list[pl.LazyFrame]:
    """What each of the frames gives for a window, or for each of its hours where `by` has them."""
    within = col("hour").is_between(a, b, closed="left")
    return [
        frame.lazy().filter(within).group_by(by).agg(*expressions)
        .with_columns(pl.lit(grain).alias("grain"), (col("hour") + 1 if "hour" in by else pl.lit(b)).alias("b"))
        for frame, expressions in aggregates
    ]  # fmt: skip


windows = [window("hour", 0, 720, ["hour", "slice"]), *(window(*each, ["slice"]) for each in LONG)]
counts, quantiles, curves = (
    pl.concat(pl.collect_all(frames), how="diagonal_relaxed") for frames in zip(*windows, strict=True)
)
key = ["grain", "b", "slice"]
tp, fp, fn, tn = (col(name).cast(pl.Float64) for name in ("tp", "fp", "fn", "tn"))
p, n = tp + fn, fp + tn
values = {
    "accuracy": (tp + tn) / col("labelled"),
    "precision": tp / (tp + fp),
    "recall": tp / p,
    "specificity": tn / n,
    "f1": 2 * tp / (2 * tp + fp + fn),
    "balanced_accuracy": (tp / p + tn / n) / 2,
    "mcc": (tp * tn - fp * fn) / ((tp + fp).sqrt() * p.sqrt() * n.sqrt() * (tn + fn).sqrt()),
    "log_loss": col("loss") / col("labelled"),
    "brier": col("brier") / col("labelled"),
    "roc_auc": (1 + col("ahead") / (p * n)) / 2,
    "average_precision": col("precisions") / p,
    "score_p90": col("score_p90"),
}
results = (
    counts.join(quantiles.select(*key, "score_p90"), on=key)
    .join(curves.select(*key, "ahead", "precisions"), on=key, how="left")
    .select("grain", "slice", ((col("b").cast(pl.Int64) + START) * 3600).alias("ends"), **values)
    .unpivot(index=["grain", "ends", "slice"], variable_name="sli")
    .with_columns(col("value").fill_nan(None), col("slice").cast(pl.String))
)
print(json.dumps({"seconds": time.perf_counter() - began, "version": pl.__version__}))
results.write_parquet(table)
