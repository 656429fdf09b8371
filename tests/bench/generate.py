"""Logs as a busy service leaves them, of any size; a row follows from its number alone, so a rerun gives the same.

    python tests/bench/generate.py OUT --predictions 10000000 --days 30

`OUT/predictions/date=YYYY-MM-DD/hour=HH.parquet`: output_id (32 hex digits), predicted_at, score, slice columns, spread
over `--days` from 2026-01-01, noon four times as busy as midnight. `OUT/feedback/...`, by the hour of known_at:
output_id, known_at, label. 85 % of predictions are labelled, 1 as often as their score says, after a delay that is
log-normal with a median of 20 minutes; delays beyond the horizon are cut to it. `--duplicates` of the predictions are
logged a second time 1 to 10 minutes later. `--corrections` of the labels are first logged wrong and then, later within
the horizon, right. `--slices region:5,device:50` names columns and how many values each takes, the first most often.

Limit: made day by day, so a day of predictions and the feedback still to come are held at a time. Corrections fall
evenly between the first label and the horizon, so many of them hold much.
"""

import argparse
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb

START = datetime(2026, 1, 1)
LABELLED = 0.85
SPREAD = 1.5  # of the delay's logarithm: 2.7 % wait more than 6 hours, 0.2 % more than a day
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
LOGS = {"predictions": "predicted_at", "feedback": "known_at"}  # each log with its time


class Traffic(NamedTuple):
    """What the logs are to look like."""

    predictions: int = 10_000_000
    days: int = 30
    first_day: int = 0
    horizon: timedelta = timedelta(days=7)
    duplicates: float = 0.0
    corrections: float = 0.0
    slices: tuple[tuple[str, int], ...] = (("region", 5), ("device", 50))


def generate(out: Path, traffic: Traffic) -> None:
    """Write both logs under `out`: a file an hour, none for an hour without rows."""
    columns = "".join(f', "{name}" VARCHAR' for name, _ in traffic.slices)
    with duckdb.connect() as unwritten:  # in memory: rows whose hour is not over yet
        unwritten.execute(
            f"CREATE TABLE predictions (output_id VARCHAR, predicted_at TIMESTAMP, score DOUBLE{columns})"
        )
        unwritten.execute("CREATE TABLE feedback (output_id VARCHAR, known_at TIMESTAMP, label TINYINT)")
        for day in range(traffic.first_day, traffic.first_day + traffic.days):
            draw(unwritten, traffic, day)
            write_hours(unwritten, out, before=START + timedelta(days=day + 1))
        write_hours(unwritten, out, before=datetime.max)


def draw(unwritten: duckdb.DuckDBPyConnection, traffic: Traffic, day: int) -> None:
    """Add one day's predictions and all that follows from them."""
    unwritten.execute(f"CREATE OR REPLACE TEMP TABLE drawn AS {drawn(traffic, day)}")
    slices = "".join(f', "{name}"' for name, _ in traffic.slices)
    unwritten.execute(f"""
        INSERT INTO predictions
        SELECT output_id, predicted_at, score{slices} FROM drawn
        UNION ALL
        SELECT output_id, predicted_at + to_microseconds((6e7 + 5.4e8 * again)::BIGINT), score{slices} FROM drawn
        WHERE duplicated""")
    horizon = traffic.horizon // timedelta(microseconds=1)
    unwritten.execute(f"""
        INSERT INTO feedback
        SELECT output_id, predicted_at + to_microseconds(delay), CASE WHEN corrected THEN 1 - label ELSE label END
        FROM drawn WHERE labelled
        UNION ALL
        SELECT output_id,
            predicted_at + to_microseconds(delay + 1 + floor(({horizon} - delay - 1) * again)::BIGINT),
            label
        FROM drawn WHERE labelled AND corrected""")


def drawn(traffic: Traffic, day: int) -> str:
    """The query that makes the predictions of one day and decides what becomes of each."""
    first, end = day * traffic.predictions // traffic.days, (day + 1) * traffic.predictions // traffic.days
    horizon = traffic.horizon // timedelta(microseconds=1)
    # The k-th of n rows comes at x = k/n of the day, moved so that noon is four times as busy as midnight.
    slices = "".join(
        f""", '{name}-' || floor(power({lane(f"md5_number('{name}' || i)", 0)}, 2) * {values})::INTEGER AS "{name}\""""
        for name, values in traffic.slices
    )
    return f"""
        WITH bits AS (
            SELECT range AS i, md5('id' || i) AS output_id, md5_number('a' || i) AS a, md5_number('b' || i) AS b
            FROM range({first}, {end})
        ), lanes AS (
            SELECT *, (i - {first} + {lane("a", 0)}) / {end - first} AS x, {lane("a", 1)} AS score,
                sqrt(-2 * ln({lane("a", 2)})) * cos(2 * pi() * {lane("a", 3)}) AS normal
            FROM bits
        ), timed AS (
            SELECT *, least({horizon}, (1.2e9 * exp({SPREAD} * normal))::BIGINT) AS delay,
                to_microseconds((8.64e10 * (x + 0.6 * sin(2 * pi() * x) / (2 * pi())))::BIGINT) AS since_midnight
            FROM lanes
        )
        SELECT output_id, TIMESTAMP '{START + timedelta(days=day)}' + since_midnight AS predicted_at, score, delay,
            ({lane("b", 0)} < score)::TINYINT AS label,
            {lane("b", 1)} < {LABELLED} AS labelled,
            {lane("b", 2)} < {traffic.duplicates} AS duplicated,
            {lane("b", 1)} / {LABELLED} < {traffic.corrections} AND delay < {horizon} AS corrected,
            {lane("b", 3)} AS again{slices}
        FROM timed"""


def lane(bits: str, number: int) -> str:
    """One of the four numbers, uniform in (0, 1), that are in 128 hashed bits."""
    return f"((({bits} >> {32 * number}) & 4294967295)::DOUBLE + 0.5) / 4294967296"


def write_hours(unwritten: duckdb.DuckDBPyConnection, out: Path, before: datetime) -> None:
    """Write, and forget, every row whose time is before the given one."""
    for log, time in LOGS.items():
        hours = unwritten.execute(
            f"SELECT DISTINCT date_trunc('hour', {time}) FROM {log} WHERE {time} < ? ORDER BY 1", [before]
        ).fetchall()
        for (hour,) in hours:
            file = out / log / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            unwritten.execute(f"""
                COPY (
                    SELECT * REPLACE ({time} AT TIME ZONE 'UTC' AS {time}) FROM {log}
                    WHERE {time} >= TIMESTAMP '{hour}' AND {time} < TIMESTAMP '{hour + timedelta(hours=1)}'
                    ORDER BY {time}, output_id
                ) TO '{file}' (FORMAT parquet, COMPRESSION zstd)""")
        unwritten.execute(f"CREATE OR REPLACE TABLE {log} AS FROM {log} WHERE {time} >= ?", [before])


def duration(text: str) -> timedelta:
    """15m, 6h or 7d."""
    found = re.fullmatch(r"(\d+)([mhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is not a duration such as 15m, 6h or 7d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def slice_columns(text: str) -> tuple[tuple[str, int], ...]:
    """`region:5,device:50` as pairs of a column and its number of values; empty text is no column."""
    parts = (part.split(":") for part in text.split(",") if part)
    return tuple((name, int(values)) for name, values in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--predictions", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--first-day", type=int, default=0, help="days after 2026-01-01 on which the logs begin")
    parser.add_argument("--horizon", type=duration, default="7d", help="15m, 6h or 7d")
    parser.add_argument("--duplicates", type=float, default=0.0, help="share of predictions logged twice")
    parser.add_argument("--corrections", type=float, default=0.0, help="share of labels corrected later")
    parser.add_argument("--slices", type=slice_columns, default="region:5,device:50", help="column:values,...")
    asked = vars(parser.parse_args())
    generate(asked.pop("out"), Traffic(**asked))


if __name__ == "__main__":
    main()
