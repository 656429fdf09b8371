"""A remote object as a file to read, of which some stretches are held already.

Limit: a read that lies in no single stretch is a request of its own.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable

Get = Callable[[int, int], bytes]
"""Fetches bytes `[start, end)` of one object."""


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
