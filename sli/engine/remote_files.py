"""Files below one remote folder for DuckDB, whose sizes are known: nothing is asked of the storage but their bytes.

Small files of one folder are fetched together, by parallel requests, before the first of them is read. Limit: they stay
in memory, beside that of DuckDB, as long as the connection; larger files are read piece by piece.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, cast

from fsspec import AbstractFileSystem

from sli.engine.storage import Storage, filesystem, on_s3

SMALL_BYTES = 1 << 20
"""Files up to this size are fetched whole."""
FETCHED_BYTES = 32 << 20
"""At most so many bytes are fetched ahead."""


class RemoteFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The file system of one connection of DuckDB; `sizes` are those of all files, by their path below the root."""

    cachable = False

    def __init__(self, protocol: str, root: str, sizes: Mapping[str, int], storage: Storage) -> None:
        super().__init__()
        self.protocol, self.sizes, self.sized = protocol, sizes, on_s3(root)
        self.fs, self.root = filesystem(root, storage)
        self.fetched: dict[str, bytes] = {}
        self.lock = threading.Lock()

    def open(self, path: str, *_: object, **__: object) -> IO[bytes]:
        name = self._name(path)
        with self.lock:
            if name not in self.fetched and self.sizes[name] <= SMALL_BYTES:
                self._fetch(name)
        if name in self.fetched:
            return io.BytesIO(self.fetched[name])
        # Without its size S3 would be asked for it.
        known = {"size": self.sizes[name]} if self.sized else {}
        return cast("IO[bytes]", self.fs.open(self._place(name), "rb", **known))

    def glob(self, path: str, **_: object) -> list[str]:
        return [path]

    def exists(self, path: str, **_: object) -> bool:
        return self._name(path) in self.sizes

    def size(self, path: str) -> int:
        return self.sizes[self._name(path)]

    def modified(self, *_: object) -> datetime:
        return datetime.fromtimestamp(0, UTC)

    def _fetch(self, name: str) -> None:
        """Fetch a small file, and others of its folder that fit."""
        names, left = [name], FETCHED_BYTES - sum(map(len, self.fetched.values())) - self.sizes[name]
        folder = name.rpartition("/")[0] + "/"
        for other, size in self.sizes.items():
            same_folder = other.startswith(folder) and other != name
            if same_folder and other not in self.fetched and size <= min(SMALL_BYTES, left):
                names.append(other)
                left -= size
        ends = [self.sizes[each] for each in names]
        # Of whole files the file system would first ask whether they exist.
        contents = self.fs.cat_ranges([*map(self._place, names)], [0] * len(ends), ends, on_error="raise")
        self.fetched.update(zip(names, contents, strict=True))

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self.protocol}://").lstrip("/")

    def _place(self, name: str) -> str:
        return f"{self.root}/{name}"
