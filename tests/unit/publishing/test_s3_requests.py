"""What an hourly run, one with nothing to do, `sli show` and `sli query` ask of S3, counted before a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from builders import config_tree
from counting import Requests, counted

from sli.command.cli import main

TIME = pa.timestamp("us", tz="UTC")
START = int(np.datetime64("2024-01-15", "us").astype(int))
HOUR = 3_600_000_000


def log_hour(url: str, hour: int, rows: int = 50) -> None:
    """The files of one hour: predictions, and their labels half an hour later."""
    storage = fsspec.filesystem("s3", skip_instance_cache=True, endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    times = START + hour * HOUR + np.arange(rows) * (HOUR // rows)
    ids = [f"{hour}-{row}" for row in range(rows)]
    tables = {
        "predictions": {"output_id": ids, "predicted_at": pa.array(times).cast(TIME), "score": np.arange(rows) / rows},
        "feedback": {
            "output_id": ids,
            "known_at": pa.array(times + HOUR // 2).cast(TIME),
            "label": np.arange(rows) % 2.0,
        },
    }
    for log, columns in tables.items():
        out = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), out)
        storage.pipe_file(f"{url}/{log}/hour={hour:03d}/0.parquet", bytes(out.getvalue()))


def asked(requests: Requests, *command: str) -> dict[str, int]:
    """How many requests of each kind a command makes, in a process of its own.

    The table library holds Python's lock while it waits, so a proxy in its process could not answer.
    """
    requests.clear()
    env = {**os.environ, "AWS_ENDPOINT_URL": requests.endpoint}
    subprocess.run([sys.executable, "-m", "sli.command.cli", *command], env=env, check=True, stdout=subprocess.DEVNULL)
    return requests.kinds()


def test_the_number_of_requests_stays_below_a_bound(s3: str, s3_server: str, tmp_path: Path) -> None:
    config = tmp_path / "sli.yaml"
    config.write_text(yaml.safe_dump(config_tree(s3, grains=["hour", "day"], slis=["accuracy", "recall"])))
    for hour in range(10):
        log_hour(s3, hour)
        if hour > 5:
            assert main(["run", str(config), "--as-of", f"2024-01-15T{hour + 1:02d}:00Z"]) == 0
    log_hour(s3, 10)
    run = ("run", str(config), "--as-of", "2024-01-15T11:00Z")
    with counted(s3_server) as requests:
        hourly, idle = asked(requests, *run), asked(requests, *run)
        planned = asked(requests, *run, "--json")
        show, query = asked(requests, "show", str(config)), asked(requests, "query", str(config), "accuracy")
    for name, kinds, bound in (
        ("an hourly run", hourly, {"GET": 170, "LIST": 40, "PUT": 20, "HEAD": 12, "DELETE": 1}),
        ("nothing to do", idle, {"GET": 1, "LIST": 3, "HEAD": 1}),
        ("nothing to do, planned", planned, {"GET": 45, "LIST": 5}),
        ("show", show, {"GET": 56, "LIST": 4}),
        ("query", query, {"GET": 30, "LIST": 3}),
    ):
        assert kinds.keys() <= bound.keys(), f"{name}: {kinds}"
        assert all(count <= bound[kind] for kind, count in kinds.items()), f"{name}: {kinds}, at most {bound}"
