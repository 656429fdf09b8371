"""A process as its container would have it: no root, no capability, and no file system to write to but some folders.

Limit: Linux, and only for root, who may make a mount namespace; processes, network and memory are those of the machine.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

USER = "nobody"
_SEAL = """
set -eu
shelf=$1 python=$2 shut=$3; shift 3
if [ -n "$shut" ]; then  # Python lies where others may not look: leave nothing else of that folder
  mount --bind "$python" "$shelf"
  mount -t tmpfs -o mode=755 tmpfs "$shut"
  mkdir -p "$python"
  mount --bind "$shelf" "$python"
fi
while [ "$1" != -- ]; do mount --bind "$1" "$1"; shift; done
shift
mount --bind / /
mount -o remount,ro,bind /
cd "$PWD"
exec setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


def can_seal() -> bool:
    """Whether this machine lets a test make a mount namespace."""
    if os.getuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def sealed(command: Sequence[str], writable: Sequence[Path], shelf: Path) -> list[str]:
    """The command that runs another one sealed; `shelf` is an empty folder."""
    python = Path(sys.base_prefix)
    for path in writable:
        shutil.chown(path, USER)
    folders = [*map(str, writable), "--", *command]
    return ["unshare", "--mount", "sh", "-c", _SEAL, "sh", str(shelf), str(python), _shut(python), *folders]


def _shut(path: Path) -> str:
    """The folder above a path that others may not look into, or nothing."""
    closed = [each for each in path.parents if not each.stat().st_mode & stat.S_IXOTH]
    return str(closed[-1]) if closed else ""
