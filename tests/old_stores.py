"""Stores as each format had them: unpacked with their logs, and what they publish."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import yaml
from fixtures import make_store

import sli
from sli import schemas
from sli.config.load import checked
from sli.config.model import Config
from sli.publishing.store import STATE_KEY, Store

AS_OF = make_store.BEGIN + timedelta(days=4)
WRITTEN_BY = {
    int(path.name.split(".")[0].rsplit("-", 1)[1]): path
    for path in Path(__file__).with_name("fixtures").glob("store-format-*")
}
"""The archive of the store of each format."""


@contextmanager
def opened(number: int, folder: Path) -> Iterator[Config]:
    """The config of the store of a format, put into a folder, and its logs where they were."""
    with tarfile.open(WRITTEN_BY[number]) as archive:
        archive.extractall(folder, filter="data")
    logs = folder / "logs"
    make_store.log({str(path.relative_to(logs)): path.read_bytes() for path in logs.rglob("*.parquet")})
    tree = make_store.tree(folder / "store")
    (folder / "sli.yaml").write_text(yaml.safe_dump(tree))
    yield checked(tree)
    fsspec.filesystem("memory").rm("/store-fixture", recursive=True)


def beliefs(config: Config) -> list[str]:
    """What is published, row by row."""
    frame = sli.read(config)[["sli", "definition", "grain", "window_start", "window_end", "slice", "value", "as_of"]]
    return sorted(map(repr, frame.to_dict("records")))


def bytes_of(config: Config) -> dict[str, bytes]:
    """Every file of a store."""
    return {str(path): path.read_bytes() for path in Path(config.store).rglob("*") if path.is_file()}


def given_format(config: Config, **change: Any) -> None:
    """Change keys of the published state, such as its format."""
    store = Store(config.store)
    state = store.published()
    assert state is not None
    tree = json.loads(state.to_json()) | change
    store.results().write(schemas.RESULTS.empty_table(), metadata={STATE_KEY: json.dumps(tree)})  # type: ignore[union-attr]
