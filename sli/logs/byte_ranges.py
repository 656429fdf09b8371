"""A remote file to read from, with some byte ranges already fetched.

Limit: a read outside of a single range costs a request.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable

Get = Callable[[int, int], bytes]
"""Fetches bytes `[start, end)` of one file."""


class ByteRanges:
    """The fetched ranges of a file. Bytes outside of them are fetched when they are read, and not kept."""

    def __init__(self, size: int, get: Get) -> None:
        self.size, self.get = size, get
        self.starts: list[int] = []
        self.contents: list[bytes] = []

    @property
    def total(self) -> int:
        """Bytes kept in memory."""
        return sum(map(len, self.contents))

    def add(self, start: int, content: bytes) -> None:
        at = bisect_right(self.starts, start)
        self.starts.insert(at, start)
        self.contents.insert(at, content)

    def read(self, start: int, end: int) -> bytes:
        at = bisect_right(self.starts, start) - 1
        if at >= 0 and end <= self.starts[at] + len(self.contents[at]):
            return self.contents[at][start - self.starts[at] : end - self.starts[at]]
        return self.get(start, end)


class RangedFile(io.RawIOBase):
    """A file object that reads from byte ranges."""

    def __init__(self, ranges: ByteRanges) -> None:
        super().__init__()
        self.ranges, self.at = ranges, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.ranges.size}[whence]
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        end = self.ranges.size if size is None or size < 0 else min(self.ranges.size, self.at + size)
        start, self.at = self.at, max(self.at, end)
        return self.ranges.read(start, end) if start < end else b""
