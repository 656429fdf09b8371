"""Damage of a store: tables that are lost, whose log cannot be read, or that lack a version or files.

Limit: a file counts as whole if it has the size that the log of its table names; what is in it is not read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from sli.engine.storage import filesystem, message_of
from sli.errors import StoreError
from sli.planning.published import Published
from sli.publishing.delta_tables import Table
from sli.publishing.store import LAYOUT, MissingVersion, Store

Kind = Literal["lost", "log", "version", "files"]
COMPUTED = ("tiles", "days", "keys", "inputs", "audit")
"""Tables that a run recomputes from the logs."""
HISTORY = ("revisions", "runs")
"""Tables that nothing but a copy brings back."""

NAMED = ["path", "size_bytes"]
"""What the log of a table says of each file."""


@dataclass(frozen=True)
class Damage:
    """What is wrong with a table, in words."""

    table: str
    kind: Kind
    text: str
    files: tuple[str, ...] = ()
    """The files that are gone or not whole, by their paths in the table."""


def damages(store: Store, published: Published, results: Table) -> dict[str, Damage]:
    """The damage of each table that has some. Raises StoreError where the storage does not answer."""
    tables = {"results": results} | {name: None for name in LAYOUT if name in published.versions}
    found = (_damage(store, published, name, table) for name, table in tables.items())
    return {damage.table: damage for damage in found if damage is not None}


def _damage(store: Store, published: Published, name: str, table: Table | None) -> Damage | None:
    try:
        table = table or store.published_table(name, published)
        lacking = {} if table is None else _lacking(store, name, table)
    except MissingVersion:
        text = f"table {name} lacks version {published.versions[name]}, which the last run rests on"
        return Damage(name, "version", text)
    except StoreError as error:
        if "damaged" in error.what:
            return Damage(name, "log", f"the log of table {name} is damaged: {error.found}")
        if "missing" in error.what:
            return Damage(name, "lost", f"table {name} is lost")
        raise
    if not lacking:
        return None
    path, why = next(iter(sorted(lacking.items())))
    text = f"table {name} lacks {len(lacking):,} of its files, such as {path}: {why}"
    return Damage(name, "files", text, tuple(sorted(lacking)))


def _lacking(store: Store, name: str, table: Table) -> Mapping[str, str]:
    """Files that the log of a table names and that are not there, or not whole, with the reason."""
    files = table.counts()
    sizes = {unquote(str(file["path"])): int(file["size_bytes"]) for file in files.select(NAMED).to_pylist()}
    there = _sizes(store, name, sizes)
    lacking = dict.fromkeys(sizes.keys() - there.keys(), "gone")
    other = {path: f"{there[path]:,} bytes instead of {size:,}" for path, size in sizes.items() if path in there}
    return lacking | {path: why for path, why in other.items() if there[path] != sizes[path]}


def _sizes(store: Store, name: str, paths: Mapping[str, int]) -> dict[str, int]:
    """The bytes of those files of a table that exist."""
    place = store.tables.uri(name)
    if "://" in place:
        try:
            fs, root = filesystem(place, store.storage)
            found = fs.find(root, detail=True)
        except Exception as error:
            raise StoreError("the store cannot be listed", where=place, found=message_of(error)) from error
        return {path.removeprefix(f"{root.rstrip('/')}/"): file["size"] for path, file in found.items()}
    sizes = {}
    for path in paths:
        try:
            sizes[path] = os.stat(f"{place}/{path}").st_size
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise StoreError("the store cannot be listed", where=place, found=message_of(error)) from error
    return sizes
