"""Turns: one run at a time works on a store; the others wait, then plan again what is left to do.

In a folder the turn is a lock, which the system releases when its holder dies; on S3 it is an object that its holder
renews. Limit: turns only save work. If two runs do work at once, they lose only time, because the commit decides which
one publishes. So a run works without a turn if locks do not work, or after PATIENCE.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from sli.engine.storage import NO_OPTIONS, Storage, create, filesystem

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

LOG = logging.getLogger("sli.store")
PATIENCE = 600.0
"""Seconds that a run waits for its turn, and that it keeps trying while it loses to others."""
POLL = {True: 0.1, False: 1.0}
"""Seconds between two tries to take the turn: for a local folder (True), and on S3."""
BEAT = 5.0
"""Seconds between two renewals of the object by its holder."""
STALE = 25.0
"""Seconds without a renewal after which the holder counts as dead."""


class Turn:
    """The turn of one run: a context that gives the turn back at its end."""

    def __init__(self, root: str, storage: Storage = NO_OPTIONS) -> None:
        self._local = "://" not in root
        self._lock: _Folder | _Object = _Folder(root) if self._local else _Object(root, storage)
        self._asked = False

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.give_back()

    def take(self) -> bool:
        """The first call waits until it is this run's turn and returns True; later calls return False at once."""
        if self._asked:
            return False
        self._asked = True
        began = time.monotonic()
        logged = False
        while not self._lock.take():
            if time.monotonic() - began >= PATIENCE:
                LOG.info("another run still works on the store; no longer waiting for it")
                break
            if not logged:
                logged = True
                LOG.info("another run works on the store; waiting until it ends")
            time.sleep(POLL[self._local] * random.uniform(0.5, 1.5))
        return True


class _Folder:
    """A lock on the folder of the store itself, so that it leaves no file behind."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.descriptor: int | None = None

    def take(self) -> bool:
        descriptor = None
        try:
            os.makedirs(self.root, exist_ok=True)
            descriptor = os.open(self.root, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert descriptor is not None
            os.close(descriptor)
            return False
        except OSError:
            # Locks do not work here, or the folder cannot be opened: writing the tables raises the right error.
            if descriptor is not None:
                os.close(descriptor)
            return True
        self.descriptor = descriptor
        return True

    def give_back(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class _Object:
    """An object `_turn` below the root of the store, created if it does not exist, and renewed by a thread."""

    def __init__(self, root: str, storage: Storage) -> None:
        self.url, self.storage = f"{root.rstrip('/')}/_turn", storage
        self.name = uuid.uuid4().hex
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None
        self.seen: tuple[bytes, float] = (b"", 0.0)
        """What the object of another run contained when it last changed, and when that was."""

    def take(self) -> bool:
        try:
            fs, path = filesystem(self.url, self.storage)
            if not create(fs, path, self._content(0)):
                self._remove_stale(fs, path)
                return False
        except Exception:
            # Writing the tables raises the right error.
            return True
        self.thread = threading.Thread(target=self._renew, args=(fs, path), daemon=True)
        self.thread.start()
        return True

    def give_back(self) -> None:
        if self.thread is None:
            return
        self.ended.set()
        self.thread.join(BEAT)
        self.thread = None
        with suppress(Exception):
            fs, path = filesystem(self.url, self.storage)
            if self._is_ours(fs.cat_file(path)):
                fs.rm_file(path)

    def _content(self, beat: int) -> bytes:
        return json.dumps({"run": self.name, "beat": beat}).encode()

    def _is_ours(self, content: bytes) -> bool:
        return bool(json.loads(content)["run"] == self.name)

    def _remove_stale(self, fs: AbstractFileSystem, path: str) -> None:
        """Remove the object of another run that has not renewed it for STALE seconds of this machine's clock."""
        try:
            content = fs.cat_file(path)
        except FileNotFoundError:
            return
        now = time.monotonic()
        if content != self.seen[0]:
            self.seen = (content, now)
        elif now - self.seen[1] > STALE:
            fs.rm_file(path)

    def _renew(self, fs: AbstractFileSystem, path: str) -> None:
        beat = 0
        while not self.ended.wait(BEAT):
            beat += 1
            with suppress(Exception):  # the storage may be unreachable for a moment
                if not self._is_ours(fs.cat_file(path)):
                    return
                fs.pipe_file(path, self._content(beat))
