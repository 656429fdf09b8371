"""DuckDB by hand: one query over the files."""

import sys
import time

import duckdb
from windows import report, windows

logs, scenario = sys.argv[1:3]
LOG = "read_parquet('{}/{}/**/*.parquet', hive_partitioning=false)"
PREDICTIONS, FEEDBACK = LOG.format(logs, "predictions"), LOG.format(logs, "feedback")
REGION = "NULL"
if scenario == "settled":
    REGION = "region"
    PREDICTIONS = (
        "(SELECT output_id, min(predicted_at) AS predicted_at, arg_min(score, predicted_at) AS score, "
        f"arg_min(region, predicted_at) AS region FROM {PREDICTIONS} GROUP BY output_id)"
    )
    FEEDBACK = f"(SELECT output_id, arg_max(label, known_at) AS label FROM {FEEDBACK} GROUP BY output_id)"

began = time.perf_counter()
con = duckdb.connect()
con.execute("SET threads=2")
con.execute("SET enable_progress_bar=false")
rows = con.execute(
    f"SELECT epoch_us(predicted_at) // 3600000000 AS hour, {REGION} AS region, count(*), count(label), "
    "count(*) FILTER (label = 1 AND score >= 0.5), count(*) FILTER (label = 0 AND score >= 0.5), "
    "count(*) FILTER (label = 1 AND score < 0.5) "
    f"FROM {PREDICTIONS} p LEFT JOIN {FEEDBACK} f USING (output_id) GROUP BY ALL"
).fetchall()
found = windows(rows)
report(found, seconds=time.perf_counter() - began, version=duckdb.__version__)
