"""Cases of names and links: how files and their folders may be called, and where links may lead."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from corpus.cases import Aside, Make, Outcome, Read, case
from corpus.thrift import Struct, with_footer


def _at(*parts: str) -> Make:
    """Writes the good file under another name, or in folders below."""

    def make(path: Path, good: pa.Table) -> None:
        place = path.parent.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(good, place)

    return make


USED = (
    *("a b.parquet", " .parquet", "ü.parquet", "😀.parquet", "\u202egnp.parquet", "100%.parquet", "%2e%2e.parquet"),
    *("a=b.parquet", "=.parquet", "a\nb.parquet", "a\tb.parquet", "a'b.parquet", 'a"b.parquet', "a\\b.parquet"),
    *("*.parquet", "?.parquet", "[a].parquet", "{a,b}.parquet", "#.parquet", "a?b=c.parquet", "~.parquet", "-.parquet"),
    *("$HOME.parquet", "${HOME}.parquet", "a;b.parquet", "a|b.parquet", "a:b.parquet", "s3:.parquet"),
    *("x" * 240 + ".parquet", "ü" * 120 + ".parquet", "part-0-c000.snappy.parquet", "é.parquet", "e\u0301.parquet"),
)
for _name in USED:
    case(f"named {ascii(_name)[:40]}", _at(_name), Read())
for _name in (".x.parquet", "_x.parquet", "..parquet", "x.parquet.tmp", "x.parquet.crc", "x.PARQUET", "x", "parquet"):
    case(f"named {_name}, no file of the log", _at(_name), Read(0))
for _folder in (
    "a b",
    "ü",
    "😀",
    "100%",
    "%zz",
    "a\nb",
    "a'b",
    "[a]",
    "*",
    "day",
    "a=b",
    "a=",
    "=b",
    "a==b",
    "a=b=c",
    "a=%2F",
    "x.parquet",
):
    case(f"in a folder {_folder!a}", _at(_folder, "x.parquet"), Read())
case("in folders twenty deep", _at(*(f"f{i}" for i in range(20)), "x.parquet"), Read())
for _folder in ("_temporary", ".staging", "_tmp=1"):
    case(f"in a folder {_folder}, no file of the log", _at(_folder, "x.parquet"), Read(0))


def _link(target: Callable[[Path], object]) -> Make:
    """A link to a place; the good file lies outside of the logs."""

    def make(path: Path, good: pa.Table) -> None:
        outside = path.parents[2] / "outside" / f"{path.parent.name}.parquet"
        outside.parent.mkdir(exist_ok=True)
        pq.write_table(good, outside)
        path.symlink_to(str(target(outside)))

    return make


def _hard_link(path: Path, good: pa.Table) -> None:
    outside = path.parents[2] / f"{path.parent.name}.parquet"
    pq.write_table(good, outside)
    os.link(outside, path)


def _loop(path: Path, _: pa.Table) -> None:
    path.symlink_to(path.name)


def _chain(path: Path, good: pa.Table) -> None:
    for number in range(20):
        path.with_name(f"_{number}").symlink_to(f"_{number + 1}")
    pq.write_table(good, path.with_name("_20"))
    path.symlink_to("_0")


def _loop_of_folders(path: Path, good: pa.Table) -> None:
    pq.write_table(good, path)
    (path.parent / "again").symlink_to(path.parent)


FOLDER = "a link to a folder, which is not followed lest it leads in circles"
LINKS: dict[str, tuple[Make, Outcome]] = {
    "to a file outside": (_link(lambda outside: outside), Read()),
    "to a file outside, hard": (_hard_link, Read()),
    "to a folder outside": (_link(lambda outside: outside.parent), Aside("unreadable", FOLDER)),
    "to the root": (_link(lambda _: "/"), Aside("unreadable", FOLDER)),
    "to nowhere": (_link(lambda _: "nowhere"), Aside("unreadable", "a link that leads nowhere")),
    "to itself": (_loop, Aside("unreadable", "a link that leads to itself")),
    "of twenty steps": (_chain, Read()),
    "to a device": (_link(lambda _: "/dev/zero"), Aside("unreadable", "a device, not a file")),
    "to a process": (_link(lambda _: "/proc/self/mem"), Aside("unreadable", "")),
    "to a file that is no Parquet": (_link(lambda _: "/etc/passwd"), Aside("unreadable", "")),
}
for _name, (_make, _outcome) in LINKS.items():
    case(f"a link {_name}", _make, _outcome)
case("a link to its folder beside it", _loop_of_folders, Read())


def _sparse(size: int) -> Make:
    """The good file with a hole behind its first four bytes: it takes no space on disk."""

    def make(path: Path, good: pa.Table) -> None:
        out = pa.BufferOutputStream()
        pq.write_table(good, out)
        whole = bytes(out.getvalue())

        def move(footer: Struct) -> None:
            for column in footer[4][0][1].items:
                for offset in (9, 11):
                    if offset in column[3].fields:
                        column[3][offset] += size

        moved = with_footer(whole, move)
        with path.open("wb") as file:
            file.write(moved[:4])
            file.seek(size, os.SEEK_CUR)
            file.write(moved[4:])

    return make


case("of five gigabytes, nearly all a hole", _sparse(5 << 30), Read())
case(
    "of five gigabytes, its footer lost",
    lambda path, _: (path.write_bytes(b"PAR1"), os.truncate(path, 5 << 30)),
    Aside("unreadable", ""),
)
