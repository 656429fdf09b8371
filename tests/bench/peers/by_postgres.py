"""PostgreSQL by hand: both logs loaded by COPY, ids indexed, then one query with one parallel worker beside the leader.

Loading and query are timed apart; writing the CSV that COPY reads is part of loading.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import psycopg
from windows import report, windows

sys.path.insert(0, str(Path(__file__).parents[2]))
from servers import postgres

TABLES = {
    "predictions": "output_id text, predicted_at timestamptz, score float8, region text",
    "feedback": "output_id text, known_at timestamptz, label smallint",
}
SETTINGS = {
    "work_mem": "1GB",
    "maintenance_work_mem": "1GB",
    "effective_cache_size": "8GB",
    "max_parallel_workers_per_gather": "1",
    "max_parallel_maintenance_workers": "1",
    "timezone": "UTC",
}


def load(con: psycopg.Connection, logs: str, folder: str) -> None:
    """Both logs as tables with an index on output_id."""
    with duckdb.connect() as files:
        files.execute("SET threads=2")
        files.execute("SET TimeZone='UTC'")
        for table, columns in TABLES.items():
            names = ", ".join(each.split()[0] for each in columns.split(", "))
            csv = Path(folder) / f"{table}.csv"
            files.execute(
                f"COPY (SELECT {names} FROM read_parquet('{logs}/{table}/**/*.parquet', hive_partitioning=false)) "
                f"TO '{csv}' (FORMAT csv, HEADER false)"
            )
            con.execute(f"CREATE TABLE {table} ({columns})")
            with csv.open("rb") as lines, con.cursor().copy(f"COPY {table} FROM STDIN (FORMAT csv)") as copy:
                while block := lines.read(1 << 20):
                    copy.write(block)
            csv.unlink()
            con.execute(f"CREATE INDEX ON {table} (output_id)")
            con.execute(f"ANALYZE {table}")


def query(scenario: str) -> str:
    """The same numbers in PostgreSQL's words."""
    predictions, feedback, region = "predictions", "feedback", "NULL"
    if scenario == "settled":
        region = "region"
        predictions = "(SELECT DISTINCT ON (output_id) * FROM predictions ORDER BY output_id, predicted_at)"
        feedback = "(SELECT DISTINCT ON (output_id) * FROM feedback ORDER BY output_id, known_at DESC)"
    return (
        f"SELECT floor(extract(epoch FROM predicted_at) / 3600)::bigint AS hour, {region} AS region, count(*), "
        "count(label), count(*) FILTER (WHERE label = 1 AND score >= 0.5), "
        "count(*) FILTER (WHERE label = 0 AND score >= 0.5), count(*) FILTER (WHERE label = 1 AND score < 0.5) "
        f"FROM {predictions} p LEFT JOIN {feedback} f USING (output_id) GROUP BY 1, 2"
    )


@contextmanager
def loaded(logs: str) -> Iterator[tuple[psycopg.Connection, float]]:
    """A connection to a server of its own that holds both logs, and the seconds loading took."""
    with postgres("bench", "bench", "bench") as server, tempfile.TemporaryDirectory(prefix="sli-bench-") as folder:
        address = f"host=127.0.0.1 port={server.port} user=bench password=bench dbname=bench"
        with psycopg.connect(address, autocommit=True) as con:
            for name, value in SETTINGS.items():
                con.execute(f"SET {name} = '{value}'")
            began = time.perf_counter()
            load(con, logs, folder)
            yield con, time.perf_counter() - began


if __name__ == "__main__":
    logs, scenario = sys.argv[1:3]
    with loaded(logs) as (con, loading):
        began = time.perf_counter()
        found = windows(con.execute(query(scenario)).fetchall())
        seconds = time.perf_counter() - began
        version = con.execute("SHOW server_version").fetchone()[0]
    report(found, seconds=seconds, load=loading, version=version)
