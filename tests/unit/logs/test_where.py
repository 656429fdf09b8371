"""Which folders and groups of rows a condition excludes: these are not read, and no row is lost by it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import config_tree
from hypothesis import given

import sli
from sli.calendar.interval import BEGINNING, END, Interval
from sli.config.load import checked
from sli.logs.discovery import discover
from sli.logs.pages import column_pages
from sli.logs.where import comparisons, excluded_by_folder, excluded_groups, where_sql

PARTS = ("=", "<", "<=", ">", ">=")
VALUES = st.one_of(st.integers(-3, 9), st.sampled_from(["a", "b", "3"]))


@pytest.mark.parametrize(
    ("where", "folders", "excluded"),
    [
        ("model = 'a'", {"model": "a"}, False),
        ("model = 'a'", {"model": "b"}, True),
        ("'a' = Model", {"model": "b"}, True),
        ("model IN ('a', 'b')", {"model": "c"}, True),
        ("model IN ('a', 'b')", {"model": "b"}, False),
        ("dt >= '2026-01-02' AND score > 0", {"dt": "2026-01-01"}, True),
        ("dt >= '2026-01-02' AND score > 0", {"dt": "2026-01-02"}, False),
        ("dt >= '2026-01-02' OR score > 0", {"dt": "2026-01-01"}, False),
        ("hour > 5", {"hour": "3"}, False),  # a text and a number: only DuckDB knows
        ("lower(model) = 'a'", {"model": "b"}, False),
        ("NOT model = 'a'", {"model": "a"}, False),
        ("model <> 'a'", {"model": "a"}, False),
        ("model = 'a'", {}, False),
        ("model = 'a'", {"model": None}, True),
        ("model IS NULL", {"model": None}, False),
    ],
)
def test_a_folder_is_excluded_by_its_name(where: str, folders: dict[str, str | None], excluded: bool) -> None:
    assert excluded_by_folder(where, folders) == excluded


@given(
    groups=st.lists(st.lists(st.integers(0, 6) | st.none(), min_size=1, max_size=4), min_size=1, max_size=4),
    operator=st.sampled_from(PARTS),
    values=st.lists(VALUES, min_size=1, max_size=3),
    more=st.booleans(),
)
def test_no_row_that_exists_is_in_an_excluded_group(
    groups: list[list[int | None]],
    operator: str,
    values: list[int | str],
    more: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("where") / "a.parquet"
    with pq.ParquetWriter(path, pa.schema([("x", pa.int64())])) as writer:
        for rows in groups:
            writer.write_table(pa.table({"x": pa.array(rows, pa.int64())}))
    texts = [f"'{value}'" if isinstance(value, str) else str(value) for value in values]
    where = f"x IN ({', '.join(texts)})" if operator == "=" else f"x {operator} {texts[0]}"
    where += " AND x IS NOT NULL" * more
    condition = where_sql(where, {"x": "int64"})
    for rows, excluded in zip(groups, excluded_groups(where, pq.read_metadata(path)), strict=True):
        listed = ", ".join("(NULL::BIGINT)" if row is None else f"({row}::BIGINT)" for row in rows)
        [(count,)] = duckdb.sql(f"SELECT count(*) FROM (VALUES {listed}) v(x) WHERE {condition}").fetchall()
        assert not (excluded and count)


def test_a_condition_of_plain_comparisons_is_evaluated_once_and_another_may_not_fail() -> None:
    assert where_sql("x = 1 AND name = 'a'", {"x": "int64", "name": "string"}) == '"x" = 1 AND "name" = \'a\''
    assert where_sql("x = 1 AND name = 5", {"x": "int64", "name": "string"}) == '"x" = 1 AND TRY((x = 1 AND name = 5))'
    assert [part.column for part in comparisons("a = 1 AND (b = 2 OR c = 3) AND d < 'x'")] == ["a", "d"]


def test_files_of_excluded_folders_are_not_opened_and_excluded_groups_not_fetched(tmp_path: Path) -> None:
    times = pa.array([1_705_312_800_000_000 + i for i in range(90)], pa.timestamp("us", tz="UTC"))
    rows = pa.table(
        {
            "output_id": [f"p{i}" for i in range(90)],
            "predicted_at": times,
            "score": [0.5] * 90,
            "env": ["a"] * 30 + ["b"] * 60,
        }
    )
    for model in ("mine", "other"):
        (tmp_path / f"predictions/model={model}").mkdir(parents=True)
    pq.write_table(rows, tmp_path / "predictions/model=mine/a.parquet", row_group_size=30)
    (tmp_path / "predictions/model=other/a.parquet").write_bytes(b"not Parquet")
    (tmp_path / "feedback").mkdir()
    config = checked(config_tree(tmp_path, {"where": "model = 'mine' AND env = 'a'"}))
    [file] = discover(config).predictions
    assert len(file.ranges) == 1
    metadata = pq.read_metadata(file.path)
    excluded = excluded_groups("env = 'a'", metadata)
    assert excluded == [False, True, True]
    assert len(column_pages(metadata, frozenset(["score"]), file.ranges, Interval(BEGINNING, END), excluded)) == 1
    outcome = sli.run(config, as_of="2024-01-20")
    assert (sli.read(config).predictions == 30).all()
    assert not outcome.newly_bad.num_rows
