"""PostgreSQL: the accuracy of all predictions, by a join of two tables with an index on output_id."""

import json
import sys
import time

from by_postgres import loaded

QUERY = (
    "SELECT avg(((score >= 0.5)::int = label)::int)::float8, count(*) FROM predictions JOIN feedback USING (output_id)"
)
logs, rounds = sys.argv[1:]
with loaded(logs) as (con, loading):
    accuracy, labelled = con.execute(QUERY).fetchone()
    seconds = []
    for _ in range(int(rounds)):
        began = time.perf_counter()
        con.execute(QUERY).fetchone()
        seconds.append(time.perf_counter() - began)
    version = con.execute("SHOW server_version").fetchone()[0]
figures = {"seconds": seconds, "accuracy": accuracy, "labelled": labelled, "load": loading, "version": version}
print(json.dumps(figures))
