"""DuckDB by hand, the whole job: counts and sums by hour, added up over windows; scores by window for the rest.

With a second argument the scores are rounded to so many digits before.
"""

import json
import sys
import time

import duckdb

logs, table, *digits = sys.argv[1:]
LOG = "read_parquet('{}/{}/**/*.parquet', hive_partitioning=false)"
HOURS, DAYS = 720, 30
FIRST = "epoch_us(TIMESTAMP '2026-01-01') // 3600000000"
SCORE = f"round(score, {digits[0]})" if digits else "score"
EPS = 2.0**-52
# By hour from the first one. The first and last week and the month reach beyond the logs.
WINDOWS = """
    SELECT 'hour' AS grain, h AS a, h + 1 AS b FROM range(720) t(h) UNION ALL
    SELECT 'day', 24 * d, 24 * d + 24 FROM range(30) t(d) UNION ALL
    SELECT 'week', 168 * w - 72, 168 * w + 96 FROM range(5) t(w) UNION ALL
    SELECT 'month', 0, 744 UNION ALL
    SELECT 'cumulative', 0, 24 * d + 24 FROM range(30) t(d) UNION ALL
    SELECT '7d/1d', 24 * d - 144, 24 * d + 24 FROM range(30) t(d)
"""
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
}

began = time.perf_counter()
con = duckdb.connect()
con.execute("SET threads=2")
con.execute("SET enable_progress_bar=false")
con.execute(f"""
    CREATE TABLE pairs AS
    SELECT epoch_us(predicted_at) // 3600000000 - {FIRST} AS hour, region, device, score, label
    FROM {LOG.format(logs, "predictions")} p LEFT JOIN {LOG.format(logs, "feedback")} f USING (output_id)
""")
con.execute(f"CREATE TABLE windows AS {WINDOWS}")
con.execute("CREATE TABLE hours AS SELECT grain, b, unnest(range(a, b)) AS hour FROM windows")
con.execute(f"""
    CREATE TABLE cells AS
    SELECT hour, coalesce(region, device, '') AS slice, count(label) AS labelled,
        count(*) FILTER (label = 1 AND score >= 0.5) AS tp, count(*) FILTER (label = 0 AND score >= 0.5) AS fp,
        count(*) FILTER (label = 1 AND score < 0.5) AS fn, count(*) FILTER (label = 0 AND score < 0.5) AS tn,
        sum(-ln(greatest({EPS}, CASE WHEN label = 1 THEN score ELSE 1 - score END))) FILTER (label IS NOT NULL) AS loss,
        sum((score - label) ** 2) AS brier
    FROM pairs GROUP BY GROUPING SETS ((hour), (hour, region), (hour, device))
""")
con.execute("""
    CREATE TABLE counted AS
    SELECT grain, b, slice, sum(labelled)::BIGINT AS labelled, sum(tp)::BIGINT AS tp, sum(fp)::BIGINT AS fp,
        sum(fn)::BIGINT AS fn, sum(tn)::BIGINT AS tn, sum(loss) AS loss, sum(brier) AS brier
    FROM hours JOIN cells USING (hour) GROUP BY ALL
""")
# How many pairs have each score: one row a pair where scores are not rounded. Days are enough for all but hours.
con.execute(f"""
    CREATE TABLE scores AS
    SELECT hour, coalesce(region, device, '') AS slice, rounded AS score, count(*) AS every,
        count(*) FILTER (label = 1) AS p, count(*) FILTER (label = 0) AS n
    FROM (SELECT *, {SCORE} AS rounded FROM pairs)
    GROUP BY GROUPING SETS ((hour, rounded), (hour, region, rounded), (hour, device, rounded))
""")
con.execute("""
    CREATE TABLE daily AS
    SELECT hour // 24 AS day, slice, score, sum(every) AS every, sum(p) AS p, sum(n) AS n FROM scores GROUP BY ALL
""")
CURVES = """
    SELECT grain, b, slice,
        sum(p * (n_below - n / 2)) / nullif(any_value(ps * ns), 0) AS roc_auc,
        sum(p * (ps - p_below + p) / (ps - p_below + p + ns - n_below + n)) FILTER (p > 0) / any_value(ps)
            AS average_precision,
        {quantile} AS score_p90
    FROM (
        SELECT *, sum(p) OVER up AS p_below, sum(n) OVER up AS n_below, sum(every) OVER up AS reached,
            sum(p) OVER whole AS ps, sum(n) OVER whole AS ns, sum(every) OVER whole AS size
        FROM ({scores})
        WINDOW up AS (PARTITION BY grain, b, slice ORDER BY score), whole AS (PARTITION BY grain, b, slice)
    ) GROUP BY grain, b, slice
"""
# The 0.9 quantile, linear between neighbours.
AT = "0.9 * (size - 1)"
QUANTILE = (
    f"min(score) FILTER (reached > floor({AT})) + any_value({AT} - floor({AT})) * "
    f"(min(score) FILTER (reached > ceil({AT})) - min(score) FILTER (reached > floor({AT})))"
)
HOURLY = "SELECT 'hour' AS grain, hour + 1 AS b, slice, score, every, p, n FROM scores"
LONGER = """
    SELECT grain, b, slice, score, sum(every) AS every, sum(p) AS p, sum(n) AS n
    FROM (SELECT DISTINCT grain, b, hour // 24 AS day FROM hours WHERE grain <> 'hour') JOIN daily USING (day)
    GROUP BY ALL
"""
con.execute("CREATE TABLE curves AS " + CURVES.format(quantile=QUANTILE, scores=HOURLY))
con.execute("INSERT INTO curves " + CURVES.format(quantile=QUANTILE, scores=LONGER))
values = ", ".join(f"{sql} AS {name}" for name, sql in VALUES.items())
names = ", ".join([*VALUES, "roc_auc", "average_precision", "score_p90"])
con.execute(f"""
    CREATE TABLE results AS SELECT grain, ends, slice, sli, value FROM (
        SELECT grain, (b + {FIRST}) * 3600 AS ends, slice, {values}, roc_auc, average_precision, score_p90
        FROM counted JOIN curves USING (grain, b, slice)
    ) UNPIVOT INCLUDE NULLS (value FOR sli IN ({names}))
""")
print(json.dumps({"seconds": time.perf_counter() - began}))
con.sql("FROM results").write_parquet(table)
