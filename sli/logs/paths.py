"""The Parquet files that the paths of a log name: files, folders, patterns and tables, at one or several places.

A file that two paths name is one file. Limit: two paths are of one file only if they differ in no more than in how they
are written, not if one leads through a link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sli.engine.storage import NO_OPTIONS, Storage, filesystem, message_of
from sli.errors import ConfigError, InputError
from sli.logs import storage as logs
from sli.logs.conversion import conversion
from sli.logs.globs import has_wildcards, local_place, near, remote_place
from sli.logs.listing import ENDINGS, Listing

if TYPE_CHECKING:
    from sli.logs.folder_dates import Older

EXPECTED = f"Parquet files that end in {', '.join(ENDINGS)}"


def list_files(log: str, paths: Sequence[str], storage: Storage = NO_OPTIONS, older: Older | None = None) -> Listing:
    """The Parquet files at the paths or URLs of a log; its `missing` are the paths where nothing is.

    Files in folders that are `older` may be missing.

    Raises InputError if the files cannot be listed, ConfigError if no file system is known for a URL.
    """
    listing = Listing.empty()
    for path in paths:
        found = _list_path(log, path, storage, older)
        if found is None:
            listing.missing[path] = _near(path, storage) if has_wildcards(path) else ""
        elif len(paths) == 1:
            return found
        elif found.others and not found.paths:
            raise InputError(
                f"a path of the {log} log holds no Parquet file",
                where=path,
                expected=EXPECTED,
                found=found.summary,
                todo=conversion(found.others, path, f"{log}.path") or f"check `{log}.path`",
            )
        else:
            listing.add_all(found)
    return _each_once(listing).sorted_by_path()


def _list_path(log: str, path: str, storage: Storage, older: Older | None) -> Listing | None:
    try:
        return logs.LogStorage(storage).list(log, path, older)
    except ConfigError as error:
        error.where = f"{log}.path, {error.where}"
        raise
    except InputError:
        raise
    except Exception as error:
        # Each file system raises errors of its own types.
        raise InputError(
            f"the {log} log cannot be listed",
            where=path,
            found=f"{type(error).__name__}: {message_of(error)}",
            todo="check the address and the credentials",
            passes=True,
        ) from error


def _each_once(listing: Listing) -> Listing:
    """The same without the files that were listed before."""
    places = {_plain(path): place for place, path in reversed([*enumerate(listing.paths)])}
    return listing if len(places) == len(listing.paths) else listing.take([*places.values()])


def _plain(path: str) -> str:
    """A path as it is compared with others."""
    return path.removeprefix("file://").replace("s3a://", "s3://", 1)


def _near(path: str, storage: Storage) -> str:
    """What lies near a pattern that names nothing."""
    fs, root = filesystem(path, storage)
    return near(fs, remote_place(fs, root) if "://" in path else local_place(root))
