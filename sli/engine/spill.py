"""Where a process spills what does not fit its memory: a folder of its own, gone when it ends.

A process that is killed cannot remove its folder, so whoever comes next does. A folder is locked by its process as long
as that lives, which also holds between containers that share a disk. Limit: folders that cannot be locked stay.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import shutil
import tempfile
from contextlib import suppress

PREFIX = "sli-spills-"


@functools.cache
def spill_folder() -> str:
    """The folder of this process."""
    _remove_left()
    made = tempfile.mkdtemp(prefix="sli-new-")
    # Locked before it has the name by which others look for what was left.
    _locked(made)
    folder = os.path.join(os.path.dirname(made), PREFIX + os.path.basename(made).removeprefix("sli-new-"))
    os.rename(made, folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_left() -> None:
    """Remove the folders of this user's processes that were killed."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with suppress(OSError):
                if not entry.name.startswith(PREFIX) or entry.stat(follow_symlinks=False).st_uid != os.getuid():
                    continue
                lock = _locked(entry.path)
                if lock is not None:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(lock)


def _locked(folder: str) -> int | None:
    """The lock of a folder, held until it is closed or the process ends; None where another process has it."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
