"""Planning with a year of files in folders named by days: an hourly run, and one that lists all of them.

    python tests/bench/listing.py --files 100 --days 365

The files of earlier days exist in the store and in listings only; a listing takes no time but that of its lists. Limit:
no file system is measured.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import measured, record

if TYPE_CHECKING:
    from sli.logs.files import Files

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
LOGS = ("predictions", "feedback")
TIMES = {"predictions": "predicted_at", "feedback": "known_at"}


def tree(root: Path) -> dict[str, Any]:
    columns = {"predictions": ("predicted_at", "score"), "feedback": ("known_at", "label")}
    logs = {
        log: {"path": str(root / log), "id": "id", "time": time, "value": value}
        for log, (time, value) in columns.items()
    }
    common = {"model": "listing", "task": "binary", "since": BEGIN.isoformat(), "store": str(root / "store")}
    return {**common, **logs, "horizon": "7d", "grains": ["hour", "day"], "slis": ["accuracy", "recall"]}


def log_hour(root: Path, hour: datetime) -> None:
    """A real file of each log."""
    for log, value in (("predictions", 0.7), ("feedback", 1.0)):
        path = root / log / folder(hour) / f"{hour:%M}-real.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {"id": [hour.isoformat()], TIMES[log]: [hour], "score" if log == "predictions" else "label": [value]}
        pq.write_table(pa.table(rows), path)


def folder(hour: datetime) -> str:
    return f"day={hour:%Y-%m-%d}/hour={hour:%H}"


def names(root: Path, log: str, days: int, files: int) -> Iterator[tuple[datetime, str]]:
    """The hour and the path of each file that does not exist."""
    for hour in (BEGIN + timedelta(hours=number) for number in range(24 * (days - 1))):
        for number in range(files):
            yield hour, f"{root}/{log}/{folder(hour)}/{number:03}.parquet"


def made_up(like: Files, files: list[tuple[datetime, str]]) -> Files:
    """Files that do not exist, each of the rows of an hour."""
    from sli.engine.arrow import integer_column, text_column
    from sli.logs.files import Files
    from sli.schemas import FILES

    first = like.take(np.zeros(len(files), np.int64)).rows
    hours = np.array([hour.replace(tzinfo=None) for hour, _ in files], "datetime64[us]").astype(np.int64)
    ends = np.stack([hours, hours + 3_599_000_000], axis=1).ravel()
    columns = {name: first.column(name) for name in FILES.names}
    columns["path"] = text_column([path for _, path in files])
    columns["ranges"] = pa.ListArray.from_arrays(
        pa.array(np.arange(0, len(ends) + 1, 2), pa.int32()), integer_column(ends)
    )
    columns["fingerprint"] = text_column(["1-1"] * len(files))
    return Files(pa.record_batch([columns[field.name].cast(field.type) for field in FILES], schema=FILES))


def prepare(root: Path, days: int, files: int) -> datetime:
    """A store that has seen all files; returns the as_of of its run."""
    from sli.config.load import checked
    from sli.logs.discovery import discover
    from sli.logs.files import Inputs
    from sli.planning.listing import week_digests
    from sli.planning.published import Listed
    from sli.publishing.files_seen import files_seen
    from sli.publishing.store import Store
    from sli.publishing.transaction import Transaction
    from sli.runs.recompute import run
    from sli.schemas import RESULTS

    config, as_of = checked(tree(root)), BEGIN + timedelta(days=days - 1, hours=6)
    # The first file is opened to try the SQL of the config.
    for hour in (BEGIN, *(as_of - timedelta(hours=hour) for hour in range(8))):
        log_hour(root, hour)
    run(config, as_of=as_of)
    log_hour(root, as_of + timedelta(minutes=30))
    run(config, as_of=as_of + timedelta(hours=1))
    real = discover(config)
    predictions, feedback = (
        some.with_more(made_up(some, list(names(root, log, days, files)))).by_path
        for log, some in zip(LOGS, real.logs, strict=True)
    )
    inputs = Inputs(predictions, feedback)
    transaction = Transaction(Store(config.store))
    published = transaction.published
    assert published is not None
    for rows, replacing in files_seen(config, inputs, real, True):
        transaction.write("inputs", rows, replacing)
    listed = Listed(
        at=published.listed.at,
        weeks=week_digests(config, inputs),
        tiles=24 * days,
        files=len(inputs.files),
        rows=200 * len(inputs.files),
    )
    transaction.publish(replace(published, listed=listed), RESULTS.empty_table(), None)
    log_hour(root, as_of + timedelta(hours=1))
    return as_of + timedelta(hours=2)


def planned(root: Path, days: int, files: int, as_of: datetime, full: bool) -> dict[str, Any]:
    """How long a plan takes, and what it planned with."""
    from unittest import mock

    from sli.calendar.interval import iso
    from sli.config.load import checked
    from sli.logs.folder_dates import Older
    from sli.logs.folders import list_local
    from sli.logs.listing import Listing
    from sli.logs.storage import LogStorage
    from sli.runs.preview import plan

    spent = 0.0

    def simulated(self: LogStorage, log: str, path: str, older: Older) -> Listing | None:
        nonlocal spent
        listing, began = list_local(log, path, self.storage, older), time.process_time()
        assert listing is not None
        hides = functools.cache(older.hides) if older else lambda _: False
        for _, name in names(root, log, days, files):
            if not hides(name.rpartition("/")[0]):
                listing.add(name, 1_000_000, "1-1", 0)
        listing = listing.sorted_by_path()
        spent += time.process_time() - began
        return listing

    began = time.process_time()
    with mock.patch.object(LogStorage, "list", simulated):
        made = plan(checked(tree(root)), as_of=as_of, full_listing=full)
    assert [cause.files and len(cause.files) for cause in made.causes] == [1, 1], made.causes
    return {
        "cpu_seconds": time.process_time() - began - spent,
        "files": len(made.inputs.files),
        "listed_from": iso(made.since),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100, help="files an hour of each log")
    parser.add_argument("--days", type=int, nargs="+", default=[60, 365])
    parser.add_argument("--planning", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.planning:
        root, days, as_of, full = given.planning
        print(json.dumps(planned(Path(root), int(days), given.files, datetime.fromisoformat(as_of), full == "full")))
        return
    cases = []
    for days in given.days:
        with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
            as_of = prepare(Path(temporary), days, given.files)
            for kind in ("hourly", "full"):
                asked = ["--files", str(given.files), "--planning", temporary, str(days), as_of.isoformat(), kind]
                figures = measured(Path(__file__), *asked)
                cases.append({"days": days, "kind": kind, **figures})
                print(cases[-1], file=sys.stderr)
    print(record("listing", {"cases": cases}))


if __name__ == "__main__":
    main()
