"""The storage of the logs: all that a run asks of it, so that tests can put storage in its place that fails or lies.

Limit: Arrow and DuckDB open and read local files themselves, several times faster than through a Python file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, cast

from sli.engine.storage import NO_OPTIONS, Storage, filesystem, on_s3
from sli.logs.folders import list_local
from sli.logs.listing import Listing, remote_stamps, stamps_of

if TYPE_CHECKING:
    from sli.logs.files import LogFile
    from sli.logs.folder_dates import Older

BLOCK = 16 << 20
"""Bytes read at a time by `read_to_end`."""


class ReplacedError(OSError):
    """A remote file is no longer the one that was listed."""


class LogStorage:
    """The file systems of the logs: folders, and those of URLs, which `storage` has options for."""

    def __init__(self, storage: Storage = NO_OPTIONS) -> None:
        self.storage = storage

    def list(self, log: str, path: str, older: Older | None = None) -> Listing | None:
        """The Parquet files at a path or URL; None if there is nothing. Files in `older` folders may be missing.

        Raises InputError, ConfigError, or as the file system.
        """
        if "://" not in path:
            return list_local(log, path, self.storage, older)
        from sli.logs.remote import list_remote  # imports fsspec

        return list_remote(log, path, self.storage)

    def is_current(self, path: str, fingerprint: str) -> bool:
        """Whether a file is still the one that was listed; False if it is gone. Raises as the file system."""
        try:
            if "://" not in path:
                return stamps_of(os.stat(path))[1] == fingerprint
            fs, place = filesystem(path, self.storage)
            fs.invalidate_cache()
            # List its folder again, since a file system may format the stamp of a single file in another way.
            entries = [fs.info(place)] if on_s3(path) else fs.ls(fs._parent(place), detail=True)
            entries = [entry for entry in entries if entry["name"] == place]
            return any(remote_stamps("", place, entry)[1] == fingerprint for entry in entries)
        except FileNotFoundError:
            return False

    def open(self, path: str) -> BinaryIO:
        """A file to read from. Raises as the file system."""
        fs, place = filesystem(path, self.storage)
        return cast("BinaryIO", fs.open(place, "rb"))

    def read_to_end(self, path: str) -> None:
        """Read a file to its end. Raises the error of the file system if that fails, so the file is not damaged."""
        with self.open(path) as file:
            while file.read(BLOCK):
                pass

    def remote(self, file: LogFile) -> RemoteFile:
        """A file at a URL, to fetch ranges of its bytes."""
        return RemoteFile(file, self.storage)


class RemoteFile:
    """Byte ranges of one remote file, and whether it is still the same file."""

    def __init__(self, file: LogFile, storage: Storage) -> None:
        self.path, self.on_s3 = file.path, on_s3(file.path)
        self.fs, self.place = filesystem(file.path, storage)
        self.tag = file.fingerprint.partition("-")[2]
        self.first: str | None = None

    def get(self, start: int, end: int) -> bytes:
        """Bytes `[start, end)`, on S3 of the very file that was listed. Raises ReplacedError, or OSError."""
        if not self.on_s3:
            return bytes(self.fs.cat_file(self.place, start=start, end=end))
        from fsspec.asyn import sync

        bucket, key, _ = self.fs.split_path(self.place)
        request = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{end - 1}", "IfMatch": self.tag}
        try:
            body = self.fs.call_s3("get_object", **request)["Body"]
            return bytes(sync(self.fs.loop, body.read))
        except OSError as error:
            if "pre-conditions" in str(error) or isinstance(error, FileNotFoundError):
                raise self._replaced() from error
            raise

    def check(self) -> None:
        """Raise ReplacedError if the file changed since the first check. On S3 `get` checks that itself."""
        if self.on_s3:
            return
        now = str(sorted((name, str(value)) for name, value in self.fs.info(self.place).items()))
        self.first = self.first or now
        if now != self.first:
            raise self._replaced()

    def get_checked(self, start: int, end: int) -> bytes:
        """Bytes `[start, end)` of the same file as before."""
        content = self.get(start, end)
        self.check()
        return content

    def _replaced(self) -> ReplacedError:
        return ReplacedError(f"{self.path} was replaced or removed while it was read")
