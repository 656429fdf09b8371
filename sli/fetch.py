"""Remote files as DuckDB reads them: of the very objects that were listed, the bytes of the needed columns and groups
of rows, many files at once.

Limit: what is fetched ahead is held in memory beside DuckDB's own, up to a share of a task's.
"""

from __future__ import annotations

import io
import itertools
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.asyn import sync

from sli.intervals import Interval
from sli.listing import is_current
from sli.logs import TAIL, LogFile
from sli.storage import READERS, Storage, filesystem, on_s3

GAP = 256 << 10
"""Bytes between two needed stretches that are fetched too, since a request costs more."""
AHEAD = 256
"""Files fetched ahead at most."""


Get = Callable[[int, int], bytes]
"""Fetches bytes `[start, end)` of one object."""


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
        batch: list[Wanted] = []
        left = self.budget // 2
        for each in itertools.islice(itertools.dropwhile(lambda each: each != path, self.wanted), AHEAD):
            wanted = self.wanted[each]
            left -= wanted.bytes
            if batch and left < 0:
                break
            if each not in self.held:
                batch.append(wanted)
        self.held.update(zip((each.file.path for each in batch), fetched(batch, self.storage), strict=True))
        while len(self.held) > len(batch) and sum(each.total for each in self.held.values()) > self.budget:
            self.held.popitem(last=False)


class Parts:
    """What is held of an object. Bytes that nobody foresaw are fetched as they are read."""

    def __init__(self, size: int, get: Get) -> None:
        self.size, self.get = size, get
        self.starts: list[int] = []
        self.parts: list[bytes] = []

    @property
    def total(self) -> int:
        """Bytes held."""
        return sum(map(len, self.parts))

    def add(self, start: int, part: bytes) -> None:
        at = bisect_right(self.starts, start)
        self.starts.insert(at, start)
        self.parts.insert(at, part)

    def read(self, start: int, end: int) -> bytes:
        at = bisect_right(self.starts, start) - 1
        if at >= 0 and end <= self.starts[at] + len(self.parts[at]):
            return self.parts[at][start - self.starts[at] : end - self.starts[at]]
        return self.get(start, end)


class Handle(io.RawIOBase):
    """An object as a file to read."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts, self.at = parts, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.parts.size}[whence]
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        end = self.parts.size if size is None or size < 0 else min(self.parts.size, self.at + size)
        start, self.at = self.at, max(self.at, end)
        return self.parts.read(start, end) if start < end else b""


def fetched(batch: Sequence[Wanted], storage: Storage) -> list[Parts]:
    """The footers of files and the needed bytes of each, in two rounds of requests. Raises Replaced, or OSError."""
    if not batch:
        return []
    gets = [getter(each.file, storage) for each in batch]
    held = [Parts(each.file.bytes, get) for each, get in zip(batch, gets, strict=True)]
    with ThreadPoolExecutor(READERS) as pool:

        def add(asked: Sequence[tuple[int, tuple[int, int]]]) -> None:
            found = pool.map(lambda each: gets[each[0]](*each[1]), asked)
            for (place, (start, _)), part in zip(asked, found, strict=True):
                held[place].add(start, part)

        add([(place, (max(0, each.file.bytes - TAIL), each.file.bytes)) for place, each in enumerate(batch)])
        stretches = [_stretches(each, tail) for each, tail in zip(batch, held, strict=True)]
        add([(place, stretch) for place, each in enumerate(stretches) for stretch in each])
        if not on_s3(batch[0].file.path):
            for each in pool.map(lambda each: _replaced(each.file, storage), batch):
                if each is not None:
                    raise each
    return held


def getter(file: LogFile, storage: Storage) -> Get:
    """Fetches bytes of a file; on S3 only of the object that was listed, elsewhere of whatever lies there."""
    fs, place = filesystem(file.path, storage)
    if not on_s3(file.path):
        return lambda start, end: bytes(fs.cat_file(place, start=start, end=end))
    bucket, key, _ = fs.split_path(place)
    tag = file.fingerprint.partition("-")[2]

    def get(start: int, end: int) -> bytes:
        asked = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{end - 1}", "IfMatch": tag}
        try:
            body = fs.call_s3("get_object", **asked)["Body"]
            return bytes(sync(fs.loop, body.read))
        except OSError as error:
            if "pre-conditions" in str(error) or isinstance(error, FileNotFoundError):
                raise Replaced(f"{file.path} was replaced or removed while it was read") from error
            raise

    return get


def _replaced(file: LogFile, storage: Storage) -> Replaced | None:
    current = is_current(file.path, file.fingerprint, storage)
    return None if current else Replaced(f"{file.path} was replaced or removed while it was read")


def _stretches(wanted: Wanted, held: Parts) -> list[tuple[int, int]]:
    """Where the needed columns of the needed groups of rows lie before the tail, near ones joined."""
    tail = held.starts[0]
    if not tail:
        return []
    metadata = pq.read_metadata(Handle(held))
    needed = [i for i, path in enumerate(metadata.schema.names) if path.split(".")[0] in wanted.columns]
    ranges = wanted.file.ranges if len(wanted.file.ranges) == metadata.num_row_groups else None
    joined: list[tuple[int, int]] = []
    for group in range(metadata.num_row_groups):
        if ranges is not None and not (ranges[group][0] < wanted.span.end and ranges[group][1] >= wanted.span.start):
            continue
        rows = metadata.row_group(group)
        for start, end in sorted(_stretch(rows.column(i)) for i in needed):
            if joined and 0 <= start - joined[-1][1] <= GAP:
                joined[-1] = joined[-1][0], end
            elif start < tail:
                joined.append((start, end))
    return joined


def _stretch(column: Any) -> tuple[int, int]:
    start = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset:
        start = min(start, column.dictionary_page_offset)
    return start, start + column.total_compressed_size
