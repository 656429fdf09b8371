"""What a power loss may leave of a folder: every write of a process is recorded, and what was not forced to the disk is
lost, wholly or in part.

    events = recorded([sys.executable, ...], folder)
    Disk.of(before, folder, events[:100]).lose_power(random.Random(1), "nothing").write(folder)

`strace` records. Like POSIX, and unlike most file systems, the model promises nothing but this: the content of a file
is on the disk once the file was forced to it, a name once its folder was. All else is there or not, in any combination.
Limit: files are written from their beginning to their end.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

CALLS = "write,pwrite64,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync"
PAGE = 4096
"""A part of a file that is on the disk or not: if not, it reads as zeros or is missing."""
LOSSES = ("nothing", "names", "some")
"""What is there of what was not forced: nothing; all names, but no content; some names and pages, drawn at random."""


class Event(NamedTuple):
    """A call that changed the folder: its name, the paths it is about, and the bytes of a write."""

    call: str
    paths: tuple[str, ...]
    content: bytes = b""


def can_record() -> bool:
    """Whether `strace` is there and may trace a process."""
    strace = shutil.which("strace")
    return (
        strace is not None
        and subprocess.run([strace, "-qq", "-e", "none", "true"], capture_output=True).returncode == 0
    )


def recorded(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> list[Event]:
    """The events of a command below a folder, in their order. Raises AssertionError if the command fails."""
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary, "log")
        strace = ["strace", "-f", "-qq", "-y", "-xx", "-s", str(1 << 24), "--seccomp-bpf", "-e", f"trace={CALLS}"]
        done = subprocess.run(
            [*strace, "-o", str(log), *command], capture_output=True, text=True, env={**os.environ, **env}
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [event for line in _whole_lines(log) if (event := _event(line, folder)) is not None]


def _whole_lines(log: Path) -> Iterator[str]:
    """The calls; those of several threads at once are written in two parts, and counted at their end."""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            process, _, call = line.rstrip("\n").partition(" ")
            call = call.strip()
            if call.endswith("<unfinished ...>"):
                begun[process] = call.removesuffix("<unfinished ...>")
            elif match := re.match(r"<\.\.\. \w+ resumed>", call):
                yield begun.pop(process) + call[match.end() :]
            else:
                yield call


def _event(line: str, folder: Path) -> Event | None:
    match = re.match(r"(\w+)\((.*)\)\s*= (-?\d+)", line)
    if match is None or int(match[3]) < 0:
        return None
    call, given = match[1], match[2]
    texts = [_bytes(text) for text in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', given)]
    # -y shows the path of a descriptor, in hexadecimal as all texts.
    opened = [_bytes(text) for text in re.findall(r"\d+<((?:\\x[0-9a-f]{2})*)>", given)]
    if call in ("write", "pwrite64", "fsync", "fdatasync"):
        paths, content = opened[:1], texts[0][: int(match[3])] if texts else b""
    else:
        paths, content = texts, b""
    names = tuple(os.fsdecode(path) for path in paths)
    inside = bool(names) and all(PurePosixPath(name).is_relative_to(folder) for name in names)
    return Event(call, names, content) if inside else None


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class File:
    content: bytes = b""
    forced: int = 0
    """So many of its bytes are on the disk."""


@dataclass
class Folder:
    """The names on the disk, and what happened to them since; a name is added with its file, or removed with None."""

    forced: dict[str, Node] = field(default_factory=dict)
    since: list[tuple[str, Node | None]] = field(default_factory=list)

    @property
    def now(self) -> dict[str, Node]:
        return _with(self.forced, self.since)


Node: TypeAlias = File | Folder


def _with(names: Mapping[str, Node], changes: Sequence[tuple[str, Node | None]]) -> dict[str, Node]:
    changed = dict(names)
    for name, node in changes:
        if node is None:
            changed.pop(name, None)
        else:
            changed[name] = node
    return changed


class Disk:
    """A folder as processes see it, and what of it is on the disk."""

    def __init__(self, root: Folder, place: Path) -> None:
        self.root, self.place = root, place

    @staticmethod
    def of(before: Path, place: Path, events: Sequence[Event]) -> Disk:
        """All of a folder on the disk, then the events, whose paths are below `place`."""
        disk = Disk(_on_disk(before), place)
        for event in events:
            disk._apply(event)
        return disk

    def _find(self, path: str) -> tuple[Folder, str]:
        *parents, name = PurePosixPath(path).relative_to(self.place).parts or ("",)
        folder = self.root
        for parent in parents:
            below = folder.now[parent]
            assert isinstance(below, Folder), path
            folder = below
        return folder, name

    def _apply(self, event: Event) -> None:
        folder, name = self._find(event.paths[0])
        node = self.root if not name else folder.now.get(name)
        if event.call in ("write", "pwrite64"):
            if node is None:
                node = File()
                folder.since.append((name, node))
            assert isinstance(node, File)
            node.content += event.content
        elif event.call in ("fsync", "fdatasync"):
            if isinstance(node, File):
                node.forced = len(node.content)
            elif node is not None:
                node.forced, node.since = node.now, []
        elif event.call in ("mkdir", "mkdirat"):
            folder.since.append((name, Folder()))
        elif event.call in ("unlink", "unlinkat", "rmdir"):
            folder.since.append((name, None))
        else:
            assert node is not None, event
            target, to = self._find(event.paths[1])
            target.since.append((to, node))
            if event.call.startswith("rename"):
                folder.since.append((name, None))

    def lose_power(self, pick: random.Random, loss: str) -> Folder:
        """What is on the disk afterwards, by one of LOSSES."""
        return _after(self.root, pick, loss)


def _on_disk(folder: Path) -> Folder:
    names: dict[str, Node] = {}
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        content = b"" if path.is_dir() else path.read_bytes()
        names[path.name] = _on_disk(path) if path.is_dir() else File(content, len(content))
    return Folder(names)


def _after(folder: Folder, pick: random.Random, loss: str) -> Folder:
    chosen = {"nothing": 0.0, "names": 1.0, "some": pick.choice([0.2, 0.5, 0.8, 1.0])}[loss]
    kept = _with(folder.forced, [change for change in folder.since if pick.random() < chosen])
    names: dict[str, Node] = {}
    for name, node in kept.items():
        names[name] = _after(node, pick, loss) if isinstance(node, Folder) else File(_left(node, pick, loss))
    return Folder(names)


def _left(file: File, pick: random.Random, loss: str) -> bytes:
    rest = file.content[file.forced :]
    if not rest or loss != "some":
        return file.content[: file.forced]
    how = pick.choice(["empty", "all", "cut", "line", "zeros"])
    if how == "zeros":
        pages = [rest[at : at + PAGE] for at in range(0, len(rest), PAGE)]
        lost = pick.randrange(len(pages))
        rest = b"".join(bytes(len(page)) if i == lost else page for i, page in enumerate(pages))
    elif how != "all":
        line = rest.find(b"\n", pick.randrange(len(rest))) + 1
        rest = rest[: {"empty": 0, "cut": pick.randrange(len(rest)), "line": line}[how]]
    return file.content[: file.forced] + rest


def write(folder: Folder, place: Path) -> None:
    """Write a folder as it is after a power loss, an hour ago."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name, node in folder.now.items():
        if isinstance(node, Folder):
            write(node, place / name)
        else:
            (place / name).write_bytes(node.content)
            before = (place / name).stat().st_mtime - 3600
            os.utime(place / name, (before, before))
