"""DuckDB by hand, the whole job: counts and sums by hour, added up over windows; ranks and quantiles by window."""

import json
import sys
import time

import duckdb
from long_windows import LONG, START

logs, table = sys.argv[1:]
LOG = "read_parquet('{}/{}/**/*.parquet', hive_partitioning=false)"
EPS = 2.0**-52
VALUES = {
    "accuracy": "(tp + tn) / nullif(labelled, 0)",
    "precision": "tp / nullif(tp + fp, 0)",
    "recall": "tp / nullif(tp + fn, 0)",
    "specificity": "tn / nullif(tn + fp, 0)",
    "f1": "2 * tp / nullif(2 * tp + fp + fn, 0)",
    "balanced_accuracy": "(tp / nullif(tp + fn, 0) + tn / nullif(tn + fp, 0)) / 2",
    "mcc": "(tp::DOUBLE * tn - fp::DOUBLE * fn) / "
    "nullif(sqrt(tp + fp) * sqrt(tp + fn) * sqrt(tn + fp) * sqrt(tn + fn), 0)",
    "log_loss": "loss / nullif(labelled, 0)",
    "brier": "brier / nullif(labelled, 0)",
    # Pairs of a positive and a negative in the right order, by the sum of the positives' ranks from the top.
    "roc_auc": "1 - (ranks - p * (p + 1) / 2) / nullif(p * n, 0)",
    "average_precision": "precisions / nullif(p, 0)",
    "score_p90": "score_p90",
}

began = time.perf_counter()
con = duckdb.connect()
con.execute("SET threads=2")
con.execute("SET enable_progress_bar=false")
con.execute(f"""
    CREATE TABLE pairs AS
    SELECT (epoch_us(predicted_at) // 3600000000 - {START})::INTEGER AS hour, region, device, score, label,
        rank() OVER (ORDER BY score DESC)::INTEGER AS rank
    FROM {LOG.format(logs, "predictions")} p LEFT JOIN {LOG.format(logs, "feedback")} f USING (output_id)
    ORDER BY hour
""")
con.execute(
    "CREATE TABLE sliced AS SELECT unnest(['', region, device]) AS slice, * EXCLUDE (region, device) FROM pairs"
)
con.execute(f"""
    CREATE TABLE cells AS
    SELECT hour, slice, count(label) AS labelled,
        count(*) FILTER (label = 1 AND score >= 0.5) AS tp, count(*) FILTER (label = 0 AND score >= 0.5) AS fp,
        count(*) FILTER (label = 1 AND score < 0.5) AS fn, count(*) FILTER (label = 0 AND score < 0.5) AS tn,
        sum(-ln(greatest({EPS}, CASE WHEN label = 1 THEN score ELSE 1 - score END))) FILTER (label IS NOT NULL) AS loss,
        sum((score - label) ** 2) AS brier
    FROM sliced GROUP BY ALL
""")
con.execute("CREATE TABLE windows (grain VARCHAR, a INTEGER, b INTEGER)")
con.execute("INSERT INTO windows SELECT 'hour', h, h + 1 FROM range(720) t(h)")
con.executemany("INSERT INTO windows VALUES (?, ?, ?)", LONG)
con.execute("""
    CREATE TABLE counted AS
    SELECT grain, b, slice, sum(labelled)::BIGINT AS labelled, sum(tp)::BIGINT AS tp, sum(fp)::BIGINT AS fp,
        sum(fn)::BIGINT AS fn, sum(tn)::BIGINT AS tn, sum(loss) AS loss, sum(brier) AS brier
    FROM windows JOIN cells ON hour >= a AND hour < b GROUP BY ALL
""")
# Ranks among all rows with a label and among those with the same one: both only sort and count.
RANKED = """
    SELECT {grain} AS grain, {b} AS b, slice, sum(from_top + up_to) FILTER (label = 1) / 2 AS ranks,
        sum(alike / up_to) FILTER (label = 1) AS precisions
    FROM (
        SELECT hour, slice, label, rank() OVER every AS from_top, count(*) OVER every AS up_to,
            count(*) OVER (PARTITION BY {by}, label ORDER BY rank) AS alike
        FROM sliced WHERE label IS NOT NULL AND {within}
        WINDOW every AS (PARTITION BY {by} ORDER BY rank)
    ) GROUP BY {by}
"""
QUANTILES = """
    SELECT {grain} AS grain, {b} AS b, slice, quantile_cont(score, 0.9) AS score_p90
    FROM sliced WHERE {within} GROUP BY {by}
"""
hourly = {"grain": "'hour'", "b": "hour + 1", "by": "hour, slice", "within": "true"}
for name, query in {"ranked": RANKED, "quantiles": QUANTILES}.items():
    con.execute(f"CREATE TABLE {name} AS {query.format(**hourly)}")
    for grain, a, b in LONG:
        window = {"grain": f"'{grain}'", "b": b, "by": "slice", "within": f"hour >= {a} AND hour < {b}"}
        con.execute(f"INSERT INTO {name} {query.format(**window)}")
values = ", ".join(f"{sql} AS {name}" for name, sql in VALUES.items())
con.execute(f"""
    CREATE TABLE results AS SELECT grain, ends, slice, sli, value FROM (
        SELECT grain, (b + {START}) * 3600 AS ends, slice, {values}
        FROM (SELECT *, tp + fn AS p, fp + tn AS n FROM counted)
        LEFT JOIN ranked USING (grain, b, slice) JOIN quantiles USING (grain, b, slice)
    ) UNPIVOT INCLUDE NULLS (value FOR sli IN ({", ".join(VALUES)}))
""")
print(json.dumps({"seconds": time.perf_counter() - began, "version": duckdb.__version__}))
con.sql("FROM results").write_parquet(table)
