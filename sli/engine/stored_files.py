"""The files below a folder or prefix of a store: listed with their sizes and times, read together, removed together.

The time of a file is that of the storage's clock, which may differ from this machine's. Limit: what is listed may be
gone when it is read or removed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from sli.calendar.duration import SECOND
from sli.engine.storage import NO_OPTIONS, Storage, filesystem

BATCH = 1_000
"""The most objects that one request removes."""


class StoredFile(NamedTuple):
    """A file of a store. Its path is relative to the folder that was listed; its time is in microseconds."""

    path: str
    bytes: int
    modified: int


class StoredFolder:
    """A folder, or an s3:// prefix, whose files are listed, read and removed by their relative paths.

    Every method raises what the storage raises, most often OSError.
    """

    def __init__(self, url: str, storage: Storage = NO_OPTIONS) -> None:
        self._fs, self._place = filesystem(url.rstrip("/"), storage)
        self._local = "://" not in url

    def files(self, below: str = "", deep: bool = False) -> list[StoredFile]:
        """The files in a folder below it, in the order of their paths; if `deep`, in its folders too. None: empty."""
        folder = f"{self._place}/{below}".rstrip("/")
        try:
            entries = self._fs.find(folder, detail=True).values() if deep else self._fs.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        files = (self._file(entry) for entry in entries if entry["type"] == "file")
        return sorted(file for file in files if file.path)

    def _file(self, entry: Mapping[str, Any]) -> StoredFile:
        path = str(entry["name"]).removeprefix(self._place).strip("/")
        stamp = entry.get("mtime", entry.get("LastModified", 0))
        seconds = stamp.timestamp() if isinstance(stamp, datetime) else float(stamp)
        return StoredFile(path, int(entry["size"] or 0), round(seconds * SECOND))

    def texts(self, paths: Collection[str]) -> dict[str, str]:
        """The texts of files, read together; files that are gone are left out."""
        if self._local:
            return {path: text for path in paths if (text := self._text(path)) is not None}
        places = {f"{self._place}/{path}": path for path in paths}
        contents = self._fs.cat(list(places), on_error="return") if places else {}
        texts = {}
        for place, content in contents.items():
            if isinstance(content, bytes):
                texts[places[place]] = content.decode()
            elif not isinstance(content, FileNotFoundError):
                raise content
        return texts

    def _text(self, path: str) -> str | None:
        with suppress(FileNotFoundError), open(f"{self._place}/{path}", encoding="utf-8") as file:
            return file.read()
        return None

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; one that is gone already is no error."""
        places = [f"{self._place}/{path}" for path in paths]
        if self._local:
            for place in places:
                with suppress(FileNotFoundError):
                    self._fs.rm_file(place)
            return
        for first in range(0, len(places), BATCH):
            # Of an object that does not exist S3 says that it is removed.
            self._fs.rm(places[first : first + BATCH])

    def now(self) -> int:
        """The time by the clock of the storage, which dates the files: of an object that is written for it."""
        if self._local:
            return int(time.time() * SECOND)
        place = f"{self._place}/_probe-{uuid.uuid4().hex}"
        self._fs.pipe_file(place, b"")
        try:
            return self._file(self._fs.info(place)).modified
        finally:
            self._fs.rm_file(place)
