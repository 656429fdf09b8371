"""Evidently: a report of three metrics for each hour of the joined logs; only `--hours` of them, the time is scaled.

It is given joined rows, so the join is pandas' and only labelled predictions are counted.
"""

import sys
import time
from importlib.metadata import version

import pandas as pd
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.metrics import Accuracy, Precision, Recall
from windows import report

logs, scenario, _, hours = sys.argv[1:5]
if scenario == "settled":
    raise SystemExit("it settles neither duplicates nor corrections")
began = time.perf_counter()
p = pd.read_parquet(f"{logs}/predictions", columns=["output_id", "predicted_at", "score"])
f = pd.read_parquet(f"{logs}/feedback", columns=["output_id", "label"])
pairs = p.merge(f, on="output_id")
pairs["decision"] = (pairs.score >= 0.5).astype("int64")
pairs["label"] = pairs.label.astype("int64")
groups = list(pairs.groupby(pairs.predicted_at.dt.floor("h"))[["label", "decision"]])
joined = time.perf_counter() - began
definition = DataDefinition(
    classification=[BinaryClassification(target="label", prediction_labels="decision", pos_label=1)],
    categorical_columns=["label", "decision"],
)
found = {}
began = time.perf_counter()
for start, rows in groups[: int(hours)]:
    made = Report([Accuracy(), Precision(), Recall()]).run(Dataset.from_pandas(rows, data_definition=definition), None)
    values = [float(each["value"]) for each in made.dict()["metrics"]]
    found[f"{int(start.timestamp()) + 3600}|"] = [None, None, *values]
spent = time.perf_counter() - began
report(
    {"hour": found},
    seconds=joined + spent * len(groups) / len(found),
    hours=len(found),
    of=len(groups),
    version=version("evidently"),
)
