"""The place of the store: can it be written, is a second writer refused, does its clock agree, is there room?

It writes a probe as a run writes its tables, and removes it. Limit: rights to remove single objects
later are not tried.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from sli.config.model import Config
from sli.doctor.finding import Finding, Skipped, ok, warning
from sli.doctor.setup import Setup
from sli.engine.storage import check_exclusive_writes, filesystem, message_of, on_s3
from sli.errors import ConflictError, StoreError
from sli.planning.tasks import size_text
from sli.publishing.delta_tables import Tables
from sli.reading.figures import number

CLOCKS_APART = 60.0
"""Seconds that two clocks may differ. S3 refuses requests from a clock that is 15 minutes off."""
ROOM = 1 << 30
"""Less free space than this is told."""


def rights(setup: Setup) -> Iterator[Finding]:
    """Whether the store can be written, and the second of two writers is refused."""
    config = setup.config
    if "://" in config.store:
        check_exclusive_writes(config.store, config.storage)
        _age_of_probe(config)
    else:
        _write_twice(_existing(config.store))
    yield ok(f"{config.store}: can be written, and the second of two writers is refused")


def clock(setup: Setup) -> Iterator[Finding]:
    """Whether this machine's clock agrees with the storage's, and no file of a log was written in the future."""
    apart = _age_of_probe(setup.config)
    if abs(apart) > CLOCKS_APART:
        ahead = "ahead of" if apart > 0 else "behind"
        seconds = number(abs(apart), unit="s")
        yield warning(
            f"the clock of this machine is {seconds} {ahead} that of the storage",
            "set it by NTP (`timedatectl set-ntp true`): runs without --as-of take their as_of from it",
        )
    else:
        yield ok(f"this machine and the storage agree: {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}")


def space(setup: Setup) -> Iterator[Finding]:
    """Whether the disks of the store and of temporary files have room."""
    places = {"temporary files": tempfile.gettempdir()}
    if "://" not in setup.config.store:
        places["the store"] = str(_existing(setup.config.store))
    free = {what: shutil.disk_usage(place).free for what, place in places.items()}
    for what, size in free.items():
        if size < ROOM:
            yield warning(
                f"only {size_text(size)} are free for {what}, at {places[what]}",
                "make room: a run writes new files before old ones can be removed",
            )
    if min(free.values()) >= ROOM:
        yield ok(", ".join(f"{size_text(size)} are free for {what}" for what, size in free.items()))


def _existing(store: str) -> Path:
    """The folder of the store, or the nearest one above it that exists. Raises StoreError if that is a file."""
    place = Path(store)
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise StoreError("the store is a file", where=str(place), todo="name a folder, or remove the file")
    return place


def _write_twice(folder: Path) -> None:
    """Create a table twice. Raises StoreError if it cannot be created, or could be a second time."""
    tables, name = Tables(str(folder)), f"_probe-{uuid.uuid4().hex}"
    schema = pa.schema([("x", pa.int64())])
    try:
        try:
            tables.create(name, schema, [])
        except StoreError as error:
            error.todo = f"let the user that runs sli write in {folder}, or choose another `store`"
            raise
        with suppress(ConflictError):
            tables.create(name, schema, [])
            raise StoreError(
                "the file system lets two writers create the same file",
                where=str(folder),
                expected="the second one is refused",
                todo="keep the store on a local disk, NFS 4 or S3",
            )
    finally:
        shutil.rmtree(folder / name, ignore_errors=True)


def _age_of_probe(config: Config) -> float:
    """How many seconds this machine's clock is ahead of the storage's, by a probe. Raises StoreError and Skipped."""
    if "://" not in config.store:
        with tempfile.NamedTemporaryFile(dir=_existing(config.store), prefix="_probe-") as probe:
            probe.write(b"x")
            probe.flush()
            return time.time() - os.stat(probe.name).st_mtime
    try:
        fs, root = filesystem(config.store, config.storage)
        path = f"{root.rstrip('/')}/_probe-{uuid.uuid4().hex}"
        fs.pipe_file(path, b"x")
        now = time.time()
        try:
            written = fs.info(path).get("LastModified") if on_s3(config.store) else None
        finally:
            fs.rm_file(path)
    except Exception as error:
        raise StoreError("the store cannot be written", where=config.store, found=message_of(error)) from error
    if not isinstance(written, datetime):
        raise Skipped("this kind of storage does not say when a file was written")
    return now - written.timestamp()
