"""What reading from S3 costs, counted before a real server: requests and bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import config_tree
from counting import Requests, counted
from faulty import On, faulty, first

import sli
from sli.config.load import checked
from sli.config.model import Config
from sli.errors import EngineError
from sli.logs import reader
from sli.logs.discovery import discover

ROWS = 20_000
HOURS = 3
TIME = pa.timestamp("us", tz="UTC")


@pytest.fixture
def requests(s3: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Requests]:
    """What the process asks of the S3 server that the URL `s3` leads to."""
    assert s3
    with counted(s3_server) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
        yield found


def elsewhere() -> Any:
    """The S3 server as another process sees it."""
    return fsspec.filesystem("s3", skip_instance_cache=True, endpoint_url=os.environ["AWS_ENDPOINT_URL"])


def written(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(table, out, compression="none", use_dictionary=False, row_group_size=ROWS // 2)
    return bytes(out.getvalue())


def wide(hour: int, log: str, columns: int, seed: int = 0) -> bytes:
    """An hour of a log whose needed columns, 24 bytes a row and the ids, lie among many that are not."""
    random = np.random.default_rng(seed + hour)
    start = np.datetime64("2024-01-15", "us").astype(int) + hour * 3_600_000_000
    times = pa.array(start + np.arange(ROWS) * 3_600_000_000 // ROWS).cast(TIME)
    ids = pa.array([f"{hour:02d}-{i:06d}" for i in range(ROWS)])
    scores = pa.array(random.random(ROWS))
    others = {f"x{i}": pa.array(random.random(ROWS)) for i in range(columns)}
    half = columns // 2
    own = {"id": ids, "at": times} | {"score" if log == "predictions" else "label": scores}
    return written(pa.table({**dict(list(others.items())[:half]), **own, **dict(list(others.items())[half:])}))


def config(logs: str, store: Path, **settings: Any) -> Config:
    columns = {"id": "id", "time": "at"}
    tree = config_tree(logs, columns, columns, store=str(store), task="regression", slis=["mae"])
    return checked(tree | settings)


def upload(url: str, columns: int) -> None:
    elsewhere().pipe(
        {
            f"{url}/{log}/hour={hour:02d}/part.parquet": wide(hour, log, columns)
            for log in ("predictions", "feedback")
            for hour in range(HOURS)
        }
    )


def test_requests_of_a_discovery_grow_with_pages_and_new_files_not_with_folders(
    s3: str, requests: Requests, tmp_path: Path
) -> None:
    upload(s3, 0)
    # More keys than a page holds, a folder each, and no part of the log.
    elsewhere().pipe({f"{s3}/predictions/date={i}/note.txt": b"x" for i in range(1_000)})
    job = config(s3, tmp_path / "store")
    requests.clear()
    found = discover(job)
    assert len(found.files) == 2 * HOURS
    assert requests.kinds() == {"LIST": 3, "GET": 2 * HOURS}
    requests.clear()
    assert discover(job, found) == found
    assert requests.kinds() == {"LIST": 3}


def test_of_wide_files_only_the_needed_columns_are_fetched_in_few_requests(
    s3: str, requests: Requests, tmp_path: Path
) -> None:
    upload(s3, 40)
    job = config(s3, tmp_path / "store")
    requests.clear()
    assert sli.run(job, as_of="2024-01-20").published
    files, needed = 2 * HOURS, ROWS * (8 + 8 + 9 + 4)
    tails = 2 * files * (64 << 10)  # one when a file is discovered, one when it is read
    assert requests.kinds().keys() == {"LIST", "GET"}
    most = 1 + files * 4
    assert requests.kinds()["GET"] <= most, "each footer twice, one three times, and two groups of rows a file"
    assert requests.bytes < tails + 1.2 * files * needed
    assert requests.bytes < 0.25 * files * ROWS * 40 * 8, "most of the bytes are of columns nobody needs"
    requests.clear()
    assert not sli.run(job, as_of="2024-01-20").published
    assert requests.kinds() == {"LIST": 2}


def test_files_beyond_the_memory_of_a_task_are_fetched_in_turn(
    s3: str, requests: Requests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(s3, 2)
    sli.run(config(s3, tmp_path / "whole"), as_of="2024-01-20")
    at_once = requests.kinds()["GET"]
    monkeypatch.setattr(reader, "PREFETCH_SHARE", 1 << 40)
    requests.clear()
    sli.run(config(s3, tmp_path / "turns"), as_of="2024-01-20")
    assert requests.kinds()["GET"] > at_once, "nothing is kept, so what is read twice is fetched twice"
    one, other = (sli.read(str(tmp_path / name)) for name in ("whole", "turns"))
    assert one.drop(columns=["run_id"]).equals(other.drop(columns=["run_id"]))


def test_an_object_replaced_between_listing_and_reading_is_an_error_and_the_next_run_is_right(
    s3: str, tmp_path: Path
) -> None:
    upload(s3, 0)
    job = config(s3, tmp_path / "store")

    def replace() -> None:
        elsewhere().pipe_file(f"{s3}/feedback/hour=01/part.parquet", wide(1, "feedback", 0, seed=7))

    with (
        faulty(On("open results", first(replace), 2)),
        pytest.raises(EngineError, match="replaced while it was read") as caught,
    ):
        sli.run(job, as_of="2024-01-20")
    assert caught.value.passes
    assert sli.run(job, as_of="2024-01-20").published
    assert sli.verify(job, windows=None).equal
