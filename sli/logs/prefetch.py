"""Remote files as DuckDB reads them: of the very objects that were listed, the bytes of the needed columns and groups
of rows, many files at once.

Limit: what is fetched ahead is held in memory beside DuckDB's own, up to a share of a task's.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.asyn import sync

from sli.calendar.interval import Interval
from sli.engine.storage import READERS, Storage, filesystem, on_s3
from sli.logs.files import LogFile
from sli.logs.footer import TAIL
from sli.logs.pages import Chunk, broken, chunks, has_checksum
from sli.logs.parts import Handle, Parts

GAP = 256 << 10
"""Bytes between two needed stretches that are fetched too, since a request costs more."""
AHEAD = 256
"""Files fetched ahead at most."""


class Replaced(OSError):
    """An object is no longer the one that was listed."""


@dataclass(frozen=True)
class Wanted:
    """A file, and what of it will be read."""

    file: LogFile
    columns: frozenset[str]
    span: Interval

    @property
    def bytes(self) -> int:
        """About how many bytes that is."""
        return min(self.file.bytes, TAIL + int(self.file.row_bytes * self.file.rows))


class Fetched(AbstractFileSystem):  # type: ignore[misc]
    """A file system for one connection of DuckDB, which asks for nothing but to open files and for their sizes."""

    cachable = False

    def __init__(self, protocol: str, storage: Storage, budget: int) -> None:
        super().__init__()
        self.protocol = protocol
        self.storage, self.budget = storage, budget
        self.wanted: dict[str, Wanted] = {}
        self.objects: dict[str, Object] = {}
        self.held: OrderedDict[str, Parts] = OrderedDict()
        self.lock = threading.Lock()

    def want(self, wanted: Wanted) -> None:
        """Announce a file; they are read about in the order they are announced in."""
        path = wanted.file.path
        if self.wanted.get(path) != wanted:
            self.held.pop(path, None)
            self.wanted[path] = wanted

    def open(self, path: str, *_: Any, **__: Any) -> Any:
        with self.lock:
            if path not in self.held:
                self._fetch(path)
            self.held.move_to_end(path)
            return Handle(self.held[path])

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path]

    def exists(self, path: str, **_: Any) -> bool:
        return path in self.wanted

    def size(self, path: str) -> int:
        return self.wanted[path].file.bytes

    def modified(self, *_: Any) -> datetime:
        return datetime.fromtimestamp(0, UTC)

    def _fetch(self, path: str) -> None:
        """Fetch a file, and those after it that fit in half of the budget; forget the oldest beyond it."""
        batch: list[tuple[Wanted, Object]] = []
        left = self.budget // 2
        for each in itertools.islice(itertools.dropwhile(lambda each: each != path, self.wanted), AHEAD):
            wanted = self.wanted[each]
            left -= wanted.bytes
            if batch and left < 0:
                break
            if each not in self.held:
                if each not in self.objects:
                    self.objects[each] = Object(wanted.file, self.storage)
                batch.append((wanted, self.objects[each]))
        self.held.update(zip((each.file.path for each, _ in batch), fetched(batch), strict=True))
        while len(self.held) > len(batch) and sum(each.total for each in self.held.values()) > self.budget:
            self.held.popitem(last=False)


class Object:
    """One remote file: bytes `[start, end)` of it, and the word that it is the same still."""

    def __init__(self, file: LogFile, storage: Storage) -> None:
        self.path, self.on_s3 = file.path, on_s3(file.path)
        self.fs, self.place = filesystem(file.path, storage)
        self.tag = file.fingerprint.partition("-")[2]
        self.first: str | None = None

    def get(self, start: int, end: int) -> bytes:
        """On S3 of the object that was listed, by its ETag. Raises Replaced, or OSError."""
        if not self.on_s3:
            return bytes(self.fs.cat_file(self.place, start=start, end=end))
        bucket, key, _ = self.fs.split_path(self.place)
        asked = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{end - 1}", "IfMatch": self.tag}
        try:
            body = self.fs.call_s3("get_object", **asked)["Body"]
            return bytes(sync(self.fs.loop, body.read))
        except OSError as error:
            if "pre-conditions" in str(error) or isinstance(error, FileNotFoundError):
                raise self._replaced() from error
            raise

    def check(self) -> None:
        """Raise Replaced where the file is not what it was at the first check. On S3 every request says so."""
        if self.on_s3:
            return
        now = str(sorted((name, str(value)) for name, value in self.fs.info(self.place).items()))
        self.first = self.first or now
        if now != self.first:
            raise self._replaced()

    def checked(self, start: int, end: int) -> bytes:
        """Bytes that belong to those read before."""
        found = self.get(start, end)
        self.check()
        return found

    def _replaced(self) -> Replaced:
        return Replaced(f"{self.path} was replaced or removed while it was read")


def fetched(batch: Sequence[tuple[Wanted, Object]]) -> list[Parts]:
    """The footers of files and the needed bytes of each, in two rounds of requests. Raises Replaced, or OSError."""
    held = [Parts(each.file.bytes, there.checked) for each, there in batch]
    with ThreadPoolExecutor(READERS) as pool:

        def check() -> None:
            list(pool.map(lambda each: each[1].check(), batch))

        def add(asked: Sequence[tuple[int, tuple[int, int]]]) -> None:
            found = pool.map(lambda each: batch[each[0]][1].get(*each[1]), asked)
            for (place, (start, _)), part in zip(asked, found, strict=True):
                held[place].add(start, part)

        check()
        add([(place, (max(0, each.file.bytes - TAIL), each.file.bytes)) for place, (each, _) in enumerate(batch)])
        stretches = [_stretches(each, parts) for (each, _), parts in zip(batch, held, strict=True)]
        add([(place, stretch) for place, each in enumerate(stretches) for stretch in each])
        check()
    for (each, _), parts in zip(batch, held, strict=True):
        _check_pages(each, parts)
    return held


def _chunks(wanted: Wanted, held: Parts) -> list[list[Chunk]]:
    return chunks(pq.read_metadata(Handle(held)), wanted.columns, wanted.file.ranges, wanted.span)


def _stretches(wanted: Wanted, held: Parts) -> list[tuple[int, int]]:
    """Where the needed columns of the needed groups of rows lie before the tail, near ones joined."""
    tail = held.starts[0]
    if not tail:
        return []
    joined: list[tuple[int, int]] = []
    for group in _chunks(wanted, held):
        for _, start, end in group:
            if joined and 0 <= start - joined[-1][1] <= GAP:
                joined[-1] = joined[-1][0], end
            elif start < tail:
                joined.append((start, end))
    return joined


def _check_pages(wanted: Wanted, held: Parts) -> None:
    """Raise OSError where a page is not what its checksum says. Only bytes that are held are looked at."""
    opened = Handle(held)
    whole = held.starts[0] == 0
    if whole and not has_checksum(opened):
        return
    for group in _chunks(wanted, held):
        if not whole and group and not has_checksum(opened, group[0].start, group[0].end):
            return
        if problem := broken(opened, group):
            raise OSError(f"{wanted.file.path}: {problem}")
