"""The files of a write: one open at a time, each row in the file of its partition, and commits that never both win."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sli.errors import ConflictError
from sli.publishing import parquet_files
from sli.publishing.delta_tables import Replacing, Table, Tables
from sli.publishing.parquet_files import Files, in_order_of_partitions, partitions_of

BY = ["grain", "day"]
GRAINS, DAYS = ("hour", "7d/1d", "a b%"), ("2024-01-01", "2024-01-02", "2024-01-03")
Row = tuple[str, str, int]
ROWS = st.lists(st.tuples(st.sampled_from(GRAINS), st.sampled_from(DAYS), st.integers(0, 99)), max_size=40)


def table(rows: Collection[Row], chunk: int = 7, encoded: bool = False) -> pa.Table:
    names = pa.schema([("grain", pa.string()), ("day", pa.string()), ("value", pa.int64())])
    values: list[list[str | int]] = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    whole = pa.table([pa.array(column, field.type) for column, field in zip(values, names, strict=True)], schema=names)
    chunks = pa.Table.from_batches(whole.to_batches(max_chunksize=chunk), names)
    return chunks.set_column(0, "grain", chunks.column(0).dictionary_encode()) if encoded else chunks


def rows_of(some: pa.Table) -> list[Row]:
    return list(zip(*(some.column(name).to_pylist() for name in ("grain", "day", "value")), strict=True))


@given(ROWS, st.integers(1, 9), st.booleans(), st.integers(1, 50))
def test_every_partition_has_its_rows_in_their_order_and_comes_once(
    rows: list[Row], chunk: int, encoded: bool, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_files, "SORTED_ROWS", most)
        given_rows = table(rows, chunk, encoded)
        pieces = [(partition, piece.column("value").to_pylist()) for partition, piece in partitions_of(given_rows, BY)]
        sorted_tables = list(in_order_of_partitions(given_rows, BY))
    expected: dict[tuple[str, str], list[int]] = {}
    for grain, day, value in rows:
        expected.setdefault((grain, day), []).append(value)
    assert len(pieces) == len(expected)
    assert dict(pieces) == expected
    assert sorted(row for some in sorted_tables for row in rows_of(some)) == sorted(rows)
    if len(sorted_tables) > 1:
        assert all(len(some) <= most or len({row[:2] for row in rows_of(some)}) == 1 for some in sorted_tables)


def test_small_pieces_are_put_together_and_large_ones_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table([("hour", day, at) for at in range(4) for day in DAYS for _ in range(100)], chunk=5000)
    for piece_bytes, pieces in ((parquet_files.PIECE_BYTES, 1), (0, 4 * len(DAYS))):
        monkeypatch.setattr(parquet_files, "PIECE_BYTES", piece_bytes)
        (sorted_rows,) = in_order_of_partitions(rows, BY)
        assert sorted_rows.column("value").num_chunks == pieces
        assert [row[1] for row in rows_of(sorted_rows)] == [day for day in DAYS for _ in range(400)]


def test_a_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def rows() -> Iterator[pa.Table]:
        yield table([("hour", day, 1) for day in DAYS])
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        list(Files(str(tmp_path), BY).write(rows(), packed=False))
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_file_is_complete_before_the_next_is_begun(tmp_path: Path) -> None:
    rows = [(grain, day, at) for at in range(3) for grain in GRAINS for day in DAYS]
    written = []
    for file in Files(str(tmp_path), BY).write([table(rows)], packed=False):
        written.append(file)
        assert len(list(tmp_path.rglob("*.parquet"))) == len(written)
        assert pq.ParquetFile(tmp_path / file.path).metadata.num_rows == file.rows == 3
        assert (tmp_path / file.path).stat().st_size == file.bytes
    assert len(written) == len(GRAINS) * len(DAYS)


def test_a_partition_goes_on_in_its_file_until_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [table([("hour", DAYS[0], at)]) for at in range(6)]
    assert [file.rows for file in Files(str(tmp_path), BY).write(tables, packed=True)] == [6]
    monkeypatch.setattr(parquet_files, "FILE_BYTES", 0)
    assert [file.rows for file in Files(str(tmp_path), BY).write(tables, packed=True)] == [1] * 6


def new_table(folder: Path) -> Table:
    return Tables(str(folder)).create("results", table([]).schema, BY)


def opened(folder: Path) -> Table:
    found = Tables(str(folder)).open("results")
    assert found is not None
    return found


def test_replaced_partitions_lose_their_rows_and_no_other_does(tmp_path: Path) -> None:
    results = new_table(tmp_path)
    results.write(table([(grain, day, 1) for grain in GRAINS for day in DAYS], encoded=True))
    results.write(table([("7d/1d", DAYS[0], 2)]), [("7d/1d", DAYS[0]), ("a b%", DAYS[1]), ("week", DAYS[0])])
    expected = {(grain, day, 1) for grain in GRAINS for day in DAYS} - {("7d/1d", DAYS[0], 1), ("a b%", DAYS[1], 1)}
    assert sorted(rows_of(results.rows())) == sorted(expected | {("7d/1d", DAYS[0], 2)})
    assert sorted(rows_of(opened(tmp_path).rows())) == sorted(rows_of(results.rows()))
    assert results.version == opened(tmp_path).version == 2
    results.write(table([]), "all")
    assert len(opened(tmp_path).rows()) == 0


REPLACING: list[Replacing] = [None, [("hour", DAYS[0])], [("hour", DAYS[1])], [("hour", DAYS[2])], "all"]


@pytest.mark.parametrize("mine", REPLACING)
@pytest.mark.parametrize("other", [*REPLACING, "restored", "compacted"])
def test_of_two_writes_to_one_version_only_the_first_succeeds(tmp_path: Path, mine: Replacing, other: str) -> None:
    """Whatever the two replace, and whether or not their rows have anything in common."""
    results = new_table(tmp_path)
    for _ in range(2):
        results.write(table([("hour", day, 1) for day in DAYS]))
    first, second = opened(tmp_path), opened(tmp_path)
    if other == "restored":
        first.restore(1)
    elif other == "compacted":
        first.compact()
    else:
        first.write(table([("hour", DAYS[0], 2)]), other)  # type: ignore[arg-type]
    with pytest.raises(ConflictError):
        second.write(table([("hour", DAYS[1], 3)]), mine, sequence=3)
    assert ("hour", DAYS[1], 3) not in rows_of(opened(tmp_path).rows())
    assert opened(tmp_path).version == first.version


def test_columns_that_the_table_lacks_are_added_and_null_in_earlier_rows(tmp_path: Path) -> None:
    results = new_table(tmp_path)
    results.write(table([("hour", DAYS[0], 1)]))
    more = table([("hour", DAYS[1], 2)]).append_column("state", pa.array([0.5]))
    results.write(more)
    results.write(table([("hour", DAYS[2], 3)]))
    assert sorted(opened(tmp_path).rows().column("state").to_pylist(), key=str) == [0.5, None, None]
    results.write(more.drop_columns(["value"]), "all")
    assert opened(tmp_path).rows().schema.names == ["grain", "day", "state"]
