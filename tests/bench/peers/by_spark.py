"""PySpark by hand: one SQL query, local mode with two threads; the start of the JVM is not in the time."""

import sys
import tempfile
import time

import pyspark
from pyspark.sql import SparkSession
from windows import report, windows

logs, scenario = sys.argv[1:3]
PREDICTIONS, FEEDBACK, REGION = "predictions", "feedback", "NULL"
if scenario == "settled":
    REGION = "region"
    PREDICTIONS = (
        "(SELECT output_id, min(predicted_at) AS predicted_at, min_by(score, predicted_at) AS score, "
        "min_by(region, predicted_at) AS region FROM predictions GROUP BY output_id)"
    )
    FEEDBACK = "(SELECT output_id, max_by(label, known_at) AS label FROM feedback GROUP BY output_id)"

with tempfile.TemporaryDirectory(prefix="sli-bench-") as scratch:
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "8g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.local.dir", scratch)
        .config("spark.sql.shuffle.partitions", "16")
        .getOrCreate()
    )
    began = time.perf_counter()
    for log in ("predictions", "feedback"):
        spark.read.parquet(f"{logs}/{log}").createOrReplaceTempView(log)
    rows = spark.sql(
        f"SELECT unix_micros(predicted_at) div 3600000000 AS hour, {REGION} AS region, count(*), count(label), "
        "count_if(label = 1 AND score >= 0.5), count_if(label = 0 AND score >= 0.5), "
        f"count_if(label = 1 AND score < 0.5) FROM {PREDICTIONS} p LEFT JOIN {FEEDBACK} f USING (output_id) "
        "GROUP BY 1, 2"
    ).collect()
    found = windows(tuple(row) for row in rows)
    report(found, seconds=time.perf_counter() - began, version=pyspark.__version__)
    spark.stop()
