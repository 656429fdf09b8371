"""pandas and NumPy by hand, the whole job: counts and sums by hour, added up over windows; scores sorted once."""

import json
import sys
import time

import numpy as np
import pandas as pd
from long_windows import LONG, START

logs, table = sys.argv[1:]


def log(name: str, *columns: str) -> pd.DataFrame:
    return pd.read_parquet(f"{logs}/{name}", columns=list(columns))


def curves(cell: np.ndarray, score: np.ndarray, label: np.ndarray) -> pd.DataFrame:
    """Rank sums, precisions and the 0.9 quantile of each cell; rows are sorted by cell, then by falling score."""
    first = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
    size = np.diff(np.r_[first, len(cell)])
    # The 0.9 quantile, linear between neighbours, counted from the top.
    lower = np.floor(0.9 * (size - 1)).astype(int)
    low, high = score[first + size - 1 - lower], score[first + size - 1 - np.minimum(lower + 1, size - 1)]
    found = pd.DataFrame({"score_p90": low + (0.9 * (size - 1) - lower) * (high - low)}, index=cell[first])
    cell, score, label = cell[label >= 0], score[label >= 0], label[label >= 0]
    # From here on a row is a score of a cell: positives and rows up to it, counted over all cells.
    last = np.flatnonzero(np.r_[(cell[1:] != cell[:-1]) | (score[1:] != score[:-1]), True])
    cell, rows, positives = cell[last], last + 1, np.cumsum(label, dtype=np.int64)[last]
    p, size = np.diff(positives, prepend=0), np.diff(rows, prepend=0)
    first = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
    within = np.diff(np.r_[first, len(cell)])
    rows -= np.repeat(rows[first] - size[first], within)
    positives -= np.repeat(positives[first] - p[first], within)
    more = {
        "ranks": np.add.reduceat(p * (2 * rows - size + 1), first) / 2,
        "precisions": np.add.reduceat(p * positives / rows, first),
    }
    return found.join(pd.DataFrame(more, index=cell[first]))


began = time.perf_counter()
pairs = log("predictions", "output_id", "predicted_at", "region", "device", "score").merge(
    log("feedback", "output_id", "label"), on="output_id", how="left"
)
hour = (pairs.predicted_at.astype("datetime64[us, UTC]").astype("int64") // 3_600_000_000 - START).to_numpy()
pairs = pairs.assign(hour=hour.astype(np.int32), all="", label=pairs.label.fillna(-1).astype(np.int8))
pairs = pairs.sort_values("score", ascending=False)
slices = [
    pairs.assign(slice=pairs[column])[["slice", "hour", "score", "label"]] for column in ("all", "region", "device")
]
sliced = pd.concat(slices, ignore_index=True)
code, names = pd.factorize(sliced.slice)
sliced = sliced.assign(slice=code.astype(np.int32)).sort_values("slice", kind="stable", ignore_index=True)

positive, negative, called = sliced.label == 1, sliced.label == 0, sliced.score >= 0.5
chance = np.where(positive, sliced.score, 1 - sliced.score)
cells = (
    pd.DataFrame(
        {
            "hour": sliced.hour,
            "slice": sliced.slice,
            "labelled": sliced.label >= 0,
            "tp": positive & called,
            "fp": negative & called,
            "fn": positive & ~called,
            "tn": negative & ~called,
            "loss": np.where(sliced.label >= 0, -np.log(np.maximum(chance, 2.0**-52)), 0),
            "brier": np.where(sliced.label >= 0, (sliced.score - sliced.label) ** 2, 0),
        }
    )
    .groupby(["hour", "slice"])
    .sum()
    .reset_index()
)
hours, slice_of, score, label = (sliced[name].to_numpy() for name in ("hour", "slice", "score", "label"))
order = np.argsort(hours, kind="stable")
cell = hours[order].astype(np.int64) * len(names) + slice_of[order]
hourly = curves(cell, score[order], label[order]).rename_axis("cell").reset_index()
hourly = hourly.assign(grain="hour", b=hourly.cell // len(names) + 1, slice=hourly.cell % len(names))
windows = [hourly.drop(columns="cell").merge(cells.assign(b=cells.hour + 1).drop(columns="hour"), on=["b", "slice"])]
for grain, a, b in LONG:
    within = (hours >= a) & (hours < b)
    found = curves(slice_of[within], score[within], label[within])
    counts = cells[(cells.hour >= a) & (cells.hour < b)].drop(columns="hour").groupby("slice").sum()
    windows.append(found.join(counts).rename_axis("slice").reset_index().assign(grain=grain, b=b))
of = pd.concat(windows, ignore_index=True)
counted = ["labelled", "tp", "fp", "fn", "tn"]
labelled, tp, fp, fn, tn = (of[name].astype(float) for name in counted)
p, n = tp + fn, fp + tn
values = {
    "accuracy": (tp + tn) / labelled,
    "precision": tp / (tp + fp),
    "recall": tp / p,
    "specificity": tn / n,
    "f1": 2 * tp / (2 * tp + fp + fn),
    "balanced_accuracy": (tp / p + tn / n) / 2,
    "mcc": (tp * tn - fp * fn) / (np.sqrt(tp + fp) * np.sqrt(p) * np.sqrt(n) * np.sqrt(tn + fn)),
    "log_loss": of.loss / labelled,
    "brier": of.brier / labelled,
    # Pairs of a positive and a negative in the right order, by the sum of the positives' ranks from the top.
    "roc_auc": 1 - (of.ranks - p * (p + 1) / 2) / (p * n),
    "average_precision": of.precisions / p,
    "score_p90": of.score_p90,
}
key = {"grain": of.grain, "ends": (of.b.astype(np.int64) + START) * 3600, "slice": names.take(of.slice.to_numpy())}
results = pd.DataFrame({**key, **values}).melt(list(key), var_name="sli")
print(json.dumps({"seconds": time.perf_counter() - began, "version": pd.__version__}))
results.to_parquet(table, index=False)
