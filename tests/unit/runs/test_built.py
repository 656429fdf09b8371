"""Tiles that a task writes to files, or sends where it cannot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from scenario import at

from sli.engine.storage import NO_OPTIONS, Storage
from sli.publishing.parquet_files import Files, NewFile
from sli.runs.built import TileWriter
from sli.schemas import TILES

TILE = {"day": "2024-01-01", "span": "tile", "start": at("2024-01-01T00:00"), "predictions": 1, "labelled": 0}
NOWHERE = {"endpoint": "http://127.0.0.1:9"}


def files_and_rows(folder: str, storage: Storage = NO_OPTIONS) -> tuple[int, int]:
    """How many files a task writes, and how many rows it sends; others see a file `mark` in the folder."""
    tiles = pa.Table.from_pylist([TILE | {"slice_by": "", "slice": "{}"}], schema=TILES)
    built = TileWriter(place=Files(folder, ["day"], storage), schema=TILES, few=-1, mark="mark")(tiles)
    assert len(built.outline) == 1
    return len(built.files), len(built.few)


def test_a_task_that_sees_the_store_writes_to_it_and_another_one_sends_its_rows(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    assert files_and_rows(str(tmp_path)) == (1, 0)
    assert files_and_rows(str(tmp_path / "elsewhere")) == (0, 1)


def test_a_task_whose_run_ends_meanwhile_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Files.write

    def late(self: Files, *given: Any) -> Iterator[NewFile]:
        yield from real(self, *given)
        (tmp_path / "mark").unlink()

    (tmp_path / "mark").touch()
    monkeypatch.setattr(Files, "write", lambda self, *given, **named: late(self, *given, *named.values()))
    assert files_and_rows(str(tmp_path)) == (0, 1)
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("options", [NOWHERE, NOWHERE | {"key": "key", "secret": "another secret"}])
def test_a_worker_without_a_key_of_the_store_or_a_way_to_it_sends_its_rows(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert files_and_rows("s3://bucket/results/tiles", Storage({"s3": options})) == (0, 1)


def test_a_worker_without_the_library_of_the_store_sends_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert files_and_rows("s3://other-bucket/results/tiles", Storage({"s3": {"region": "eu-west-1"}})) == (0, 1)
