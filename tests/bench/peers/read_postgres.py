"""PostgreSQL: the accuracy of all predictions, by a join of two tables with an index on output_id."""

import json
import sys
import tempfile
import time

import psycopg
from by_postgres import SETTINGS, load, postgres

QUERY = (
    "SELECT avg(((score >= 0.5)::int = label)::int)::float8, count(*) FROM predictions JOIN feedback USING (output_id)"
)
logs, rounds = sys.argv[1:]
with postgres("bench", "bench", "bench") as port, tempfile.TemporaryDirectory(prefix="sli-bench-") as folder:
    address = f"host=127.0.0.1 port={port} user=bench password=bench dbname=bench"
    with psycopg.connect(address, autocommit=True) as con:
        for name, value in SETTINGS.items():
            con.execute(f"SET {name} = '{value}'")
        began = time.perf_counter()
        load(con, logs, folder)
        loaded = time.perf_counter() - began
        accuracy, labelled = con.execute(QUERY).fetchone()
        seconds = []
        for _ in range(int(rounds)):
            began = time.perf_counter()
            con.execute(QUERY).fetchone()
            seconds.append(time.perf_counter() - began)
        version = con.execute("SHOW server_version").fetchone()[0]
figures = {"seconds": seconds, "accuracy": accuracy, "labelled": labelled, "load": loaded, "version": version}
print(json.dumps(figures))
