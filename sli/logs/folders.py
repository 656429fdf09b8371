"""The files of local folders: a scan of each folder, where the folder of a table gives the files of its snapshot.

What has the name of a Parquet file and is not a file (for example a FIFO) is refused without opening it, since that
could block for ever. Limit: links to folders are not followed, since these could form a circle.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_left
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from sli.engine.storage import Storage
from sli.logs.globs import Place, local_place
from sli.logs.listing import ENDINGS, HIDDEN, Listing, stamps_of
from sli.logs.tables import METADATA, add_snapshot, folders_around, kind_of, snapshot_of, table_of_metadata

if TYPE_CHECKING:
    from sli.logs.folder_dates import Older


def list_local(log: str, path: str, storage: Storage, older: Older | None = None) -> Listing | None:
    """The Parquet files at a local path; None if there is nothing. Raises InputError or ConfigError.

    Folders that are `older` are not scanned.
    """
    place, listing = local_place(os.path.abspath(path)), Listing.empty()
    tables = {folder: kind for folder in folders_around(place.root) if (kind := _kind(folder))}
    for folder, kind in tables.items():
        _add_table(log, place, kind, folder, listing, storage)
    if (named := table_of_metadata(place.root)) and os.path.isfile(place.root):
        _add_table(log, Place(named[0]), METADATA, named[0], listing, storage, [named[1]])
        found = True
    elif tables:
        found = bool(listing.paths) or (place.pattern is None and os.path.exists(place.root))
    elif os.path.isdir(place.root):
        found = _scan(log, place, listing, storage, older)
    elif place.pattern is None and place.root.endswith(ENDINGS) and os.path.lexists(place.root):
        _add_target(place.root, listing)
        found = True
    else:
        found = place.pattern is None and os.path.exists(place.root)
        listing.others.extend([place.root] * found)
    return listing.sorted_by_path() if found else None


def _kind(folder: str) -> str | None:
    """The kind of the table that a folder is, if it is one."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return kind_of(os.listdir(folder), _in_metadata(folder))
    return None


def _in_metadata(folder: str) -> Collection[str]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(os.path.join(folder, METADATA))
    return ()


def _add_table(
    log: str,
    place: Place,
    kind: str,
    folder: str,
    listing: Listing,
    storage: Storage,
    in_metadata: Collection[str] | None = None,
) -> None:
    """Add the files of a table that are meant."""
    names = _in_metadata(folder) if in_metadata is None else in_metadata
    snapshot = snapshot_of(kind, log, folder, names, storage)
    add_snapshot(listing, snapshot, folder, place, lambda path: stamps_of(os.stat(path)))


def _scan(log: str, place: Place, listing: Listing, storage: Storage, older: Older | None) -> bool:
    """Add the files of a folder that are meant; whether any file or folder there is, also if it is older."""
    unscanned, named_as_files, found, hidden = [place.root], [], place.pattern is None, list[str]()
    while unscanned:
        folder = unscanned.pop()
        with suppress(FileNotFoundError):  # the folder was removed since its parent was listed
            with os.scandir(folder) as scanned:
                entries = list(scanned)
            names = {entry.name for entry in entries}
            if kind := kind_of(names, _in_metadata(folder) if METADATA in names else ()):
                _add_table(log, place, kind, folder, listing, storage)
                continue
            folders = [path for path in _add_entries(place, entries, listing) if place.leads_to(path)]
            if older:
                hidden += [path for path in folders if older.hides(path)]
                folders = [path for path in folders if not older.hides(path)]
            unscanned += folders
            meant = [path for path in folders if place.names(path)]
            found = found or bool(meant)
            named_as_files += [path for path in meant if path.endswith(ENDINGS)]
    _refuse_empty(named_as_files, listing.paths + hidden, listing)
    return found or bool(listing.paths or listing.others or hidden)


def _add_entries(place: Place, entries: Collection[os.DirEntry[str]], listing: Listing) -> list[str]:
    """Add the files of a folder that are meant; returns its folders."""
    folders = []
    for entry in entries:
        if entry.name.startswith(HIDDEN):
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.path)
        elif place.pattern is not None and not place.names(entry.path):
            continue
        elif entry.name.endswith(ENDINGS):
            if entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # the file was removed meanwhile
                    listing.add(entry.path, *stamps_of(entry.stat()))
            else:
                _add_target(entry.path, listing)
        else:
            listing.others.append(entry.path)
    return folders


def _refuse_empty(folders: list[str], contents: list[str], listing: Listing) -> None:
    """Refuse folders named like Parquet files that contain none. Some engines write a table as such a folder."""
    paths = sorted(contents) if folders else []
    for folder in folders:
        at = bisect_left(paths, folder + os.sep)
        if at == len(paths) or not paths[at].startswith(folder + os.sep):
            listing.refuse(folder, "a folder that holds no Parquet file")


KINDS = (
    (stat.S_ISFIFO, "a FIFO, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
    (stat.S_ISDIR, "a link to a folder, which is not followed lest it leads in circles"),
)
LINKS = {errno.ELOOP: "a link that leads to itself", errno.EACCES: "no permission to look at it"}


def _add_target(path: str, listing: Listing) -> None:
    """Add the file that a link leads to, or refuse what has the name of a file and is none, without opening it."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):  # else the file was removed meanwhile
            listing.refuse(path, "a link that leads nowhere")
    except OSError as error:
        if error.errno not in LINKS:
            raise
        listing.refuse(path, LINKS[error.errno])
    else:
        if stat.S_ISREG(status.st_mode):
            listing.add(path, *stamps_of(status))
        else:
            listing.refuse(path, next(what for is_kind, what in KINDS if is_kind(status.st_mode)))
