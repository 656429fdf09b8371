"""Pages of Parquet files are held to their checksums, whatever wrote them and wherever they lie."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from desk import Desk

import sli
from sli.calendar.interval import Interval
from sli.engine.thrift import decode_struct
from sli.logs.contradictions import column_chunks
from sli.logs.pages import (
    CHECKSUM,
    PAGE_SIZE,
    ColumnPages,
    checksum_error,
    column_pages,
    has_checksum,
)

ALWAYS = Interval(-(2**62), 2**62)
TABLE = pa.table(
    {
        "id": [f"a rather long id {i}" for i in range(3_000)],
        "score": np.arange(3_000) / 3_000,
        "kind": pa.array([None if i % 7 == 0 else f"kind {i % 3}" for i in range(3_000)]),
        "nested": pa.array([[i, i] for i in range(3_000)]),
    }
)
WRITERS: list[dict[str, Any]] = [
    {"compression": "none", "use_dictionary": False},
    {"compression": "snappy", "data_page_size": 1_000, "row_group_size": 1_000},
    {"compression": "zstd", "data_page_version": "2.0", "write_page_index": True},
    {"compression": "none", "data_page_version": "2.0", "column_encoding": "PLAIN", "use_dictionary": False},
]


def written(**options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(TABLE, file, **options)
    return file.getvalue()


def pages(content: bytes, found: list[ColumnPages]) -> Iterator[tuple[int, int]]:
    """Where the bytes of each page lie, behind its header."""
    for _, start, end in found:
        at = start
        while at < end:
            fields, at = decode_struct(content, at)
            assert CHECKSUM in fields
            yield at, at + fields[PAGE_SIZE]
            at += fields[PAGE_SIZE]


@pytest.mark.parametrize("options", WRITERS, ids=str)
def test_every_flipped_byte_of_a_needed_page_is_found_and_none_where_nothing_is(options: dict[str, Any]) -> None:
    content = written(write_page_checksum=True, **options)
    metadata = pq.read_metadata(io.BytesIO(content))
    groups = column_pages(metadata, frozenset(TABLE.schema.names), (), ALWAYS)
    assert len(groups) == metadata.num_row_groups
    everything = list(itertools.chain.from_iterable(groups))
    assert has_checksum(io.BytesIO(content))
    assert checksum_error(io.BytesIO(content), everything) == ""
    found = list(pages(content, everything))
    assert len(found) >= 4
    for start, end in (found[0], found[len(found) // 2], found[-1]):
        for at in {start, (start + end) // 2, end - 1}:
            spoiled = bytearray(content)
            spoiled[at] ^= 1
            assert "checksum" in checksum_error(io.BytesIO(bytes(spoiled)), everything)
            with pytest.raises(OSError, match="CRC"):
                pq.ParquetFile(io.BytesIO(bytes(spoiled)), page_checksum_verification=True).read()


@pytest.mark.parametrize("options", WRITERS, ids=str)
def test_files_without_checksums_are_left_alone(options: dict[str, Any]) -> None:
    content = written(**options)
    assert not has_checksum(io.BytesIO(content))
    groups = column_pages(pq.read_metadata(io.BytesIO(content)), frozenset(["id"]), (), ALWAYS)
    assert [len(each) for each in groups] == [1] * len(groups)
    assert checksum_error(io.BytesIO(content), itertools.chain.from_iterable(groups)) == ""


def test_only_needed_columns_of_needed_groups_are_looked_at() -> None:
    content = written(row_group_size=1_000)
    metadata = pq.read_metadata(io.BytesIO(content))
    groups = column_pages(metadata, frozenset(["score", "nested"]), ((0, 9), (10, 19), (20, 29)), Interval(12, 20))
    assert [[each.column for each in group] for group in groups] == [["score", "nested.list.element"]]
    assert len(column_pages(metadata, frozenset(["score"]), ((0, 9),), Interval(12, 20))) == 3, (
        "nothing is known of groups"
    )


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\x1c" * 5_000, b"PAR1" + b"\xff" * 99, bytes(99)])
def test_bytes_that_are_no_pages_are_no_error(content: bytes) -> None:
    assert not has_checksum(io.BytesIO(content))
    assert checksum_error(io.BytesIO(content), [ColumnPages("x", 4, len(content))]) == ""


def test_headers_and_footers_of_random_bytes_end() -> None:
    random = np.random.default_rng(3)
    for _ in range(2_000):
        content = random.bytes(60)
        checksum_error(io.BytesIO(content), [ColumnPages("x", 0, len(content))])
    with pytest.raises(EOFError):
        column_chunks(io.BytesIO(b"\xff" * 30 + b"\x14\0\0\0PAR1"), 38, 1, {0})


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


def spoiled(path: Path, column: str, **options: Any) -> bytes:
    """A file rewritten with checksums, one bit of a value of a column flipped: one that any reader takes."""
    pq.write_table(pq.read_table(path), path, compression="none", use_dictionary=False, **options)
    group = pq.read_metadata(path).row_group(0)
    [chunk] = [c for i in range(group.num_columns) if (c := group.column(i)).path_in_schema == column]
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 1
    path.write_bytes(bytes(content))
    return bytes(content)


@pytest.mark.parametrize(("log", "column", "version"), [("predictions", "score", "1.0"), ("feedback", "label", "2.0")])
def test_a_file_whose_checksums_tell_of_damage_is_set_aside(desk: Desk, log: str, column: str, version: str) -> None:
    path = getattr(desk, log)("b.parquet", prefix="b")
    spoiled(path, column, write_page_checksum=True, data_page_version=version)
    said = desk.run()
    assert said.code == 3
    assert said.has("set aside", log, "damaged, 6 rows", str(path), f"the checksum of page 0 of column '{column}'")
    assert desk.counts() == (6, 6)
    assert desk.audit() == {(log, "damaged"): 6}
    assert desk.run().code == 0


def test_a_file_of_whole_pages_with_checksums_counts(desk: Desk) -> None:
    path = desk.predictions("b.parquet", prefix="b")
    pq.write_table(pq.read_table(path), path, write_page_checksum=True)
    assert desk.run().code == 0
    assert desk.counts() == (12, 6)


def test_damage_after_the_first_reading_is_found_by_the_next_one(desk: Desk) -> None:
    path = desk.predictions()
    pq.write_table(pq.read_table(path), path, write_page_checksum=True)
    desk.predictions("b.parquet", prefix="b")
    assert desk.run().code == 0
    times = path.stat()
    spoiled(path, "score", write_page_checksum=True)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert desk.backfill("2024-01-15", "2024-01-16").code == 3
    assert desk.counts() == (6, 0)


@pytest.mark.parametrize("large", [False, True])
def test_the_pages_of_remote_files_are_held_to_their_checksums_as_they_are_fetched(
    desk: Desk, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("sli.logs.prefetch.TAIL", 1_000)
        monkeypatch.setattr("sli.logs.footer.TAIL", 1_000)
    fs = fsspec.filesystem("memory")
    root = f"/{desk.root.name}"
    path = desk.predictions("b.parquet", prefix="b")
    fs.pipe(f"{root}/b.parquet", spoiled(path, "score", write_page_checksum=True))
    fs.pipe(f"{root}/a.parquet", (desk.root / "predictions/a.parquet").read_bytes())
    desk.configure(predictions__path=f"memory:/{root}")
    said = desk.run()
    fs.rm(root, recursive=True)
    assert said.code == 3
    assert said.has("predictions, damaged, 6 rows", "b.parquet", "checksum")
    assert desk.counts() == (6, 6)
    assert sli.read(desk.config, table="audit").check.tolist() == ["damaged"]


def test_a_reference_table_is_held_to_its_checksums_too(desk: Desk) -> None:
    desk.configure(slis=["accuracy", {"name": "psi", "sli": "psi", "against": {"table": str(desk.root / "t.parquet")}}])
    path = desk.predictions("b.parquet", prefix="b").rename(desk.root / "t.parquet")
    spoiled(path, "score", write_page_checksum=True)
    said = desk.run()
    assert said.code == 2
    assert said.has("the reference table cannot be used", str(path), "the checksum of page 0 of column 'score'")
