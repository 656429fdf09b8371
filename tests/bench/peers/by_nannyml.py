"""NannyML: PerformanceCalculator in hourly chunks of the joined logs; it is fitted on the first week.

It is given joined rows, so the join is pandas' and only labelled predictions are counted. Fitting is timed apart.
"""

import sys
import time
from importlib.metadata import version

import nannyml
import pandas as pd
from windows import report

METRICS = ["accuracy", "precision", "recall"]
logs, scenario = sys.argv[1:3]
if scenario == "settled":
    raise SystemExit("it settles neither duplicates nor corrections")
began = time.perf_counter()
p = pd.read_parquet(f"{logs}/predictions", columns=["output_id", "predicted_at", "score"])
f = pd.read_parquet(f"{logs}/feedback", columns=["output_id", "label"])
pairs = p.merge(f, on="output_id").sort_values("predicted_at")
pairs["predicted_at"] = pairs.predicted_at.dt.tz_localize(None)
pairs["decision"] = (pairs.score >= 0.5).astype("int64")
pairs["label"] = pairs.label.astype("int64")
calculator = nannyml.PerformanceCalculator(
    metrics=METRICS,
    y_true="label",
    y_pred="decision",
    y_pred_proba="score",
    timestamp_column_name="predicted_at",
    problem_type="classification_binary",
    chunk_period="h",
)
joined = time.perf_counter() - began
began = time.perf_counter()
calculator.fit(pairs[pairs.predicted_at < pairs.predicted_at.min().normalize() + pd.Timedelta(days=7)])
fit = time.perf_counter() - began
began = time.perf_counter()
result = calculator.calculate(pairs).filter(period="analysis").to_df()
seconds = joined + time.perf_counter() - began
found = {}
for row in range(len(result)):
    start = pd.Timestamp(result["chunk"]["start_date"].iloc[row]).floor("h")
    end = int(start.timestamp()) + 3600
    found[f"{end}|"] = [None, None, *(float(result[name]["value"].iloc[row]) for name in METRICS)]
report({"hour": found}, seconds=seconds, fit=fit, version=version("nannyml"))
