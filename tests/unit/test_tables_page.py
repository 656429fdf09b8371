"""docs/tables.md and the tables agree: columns, types, what is null, and the Delta protocol that readers need."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import tables_page
from deltalake import DeltaTable
from desk import TEN, ZONED, Desk, N

import sli
from sli.meanings import MEANINGS, TABLES
from sli.publishing.store import LAYOUT


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store after a run, late feedback with a new SLI, a backfill, and rows and files that do not count."""
    desk = Desk(tmp_path_factory.mktemp("tables"), None)  # type: ignore[arg-type]
    slis = [{"sli": "accuracy", "objective": ">= 0.9"}, "recall", "roc_auc"]
    every = {"slice_by": [[], ["site"]], "grains": ["hour", "day"], "horizon": "30d"}
    desk.configure(slis=slis, **every)
    desk.predictions(site=["A", None] * (N // 2))
    desk.predictions("again.parquet", "p", n=2, site=["A", "B"])
    desk.predictions("lone.parquet", "lone", n=2, site=["C", "C"])
    desk.feedback()
    desk.feedback("orphans.parquet", "nobody")
    (desk.root / "predictions/bad.parquet").write_text("not Parquet")
    sli.run(desk.config, as_of="2024-02-01")
    desk.feedback("late.parquet", "lone", n=1, known_at=pa.array([TEN.replace(day=20)], ZONED))
    desk.configure(slis=[*slis, {"name": "p90", "sli": "quantile", "q": 0.9}], **every)
    sli.run(desk.config, as_of="2024-02-02")
    desk.feedback("corrected.parquet", n=2, known_at=pa.array([TEN.replace(day=16)] * 2, ZONED), label=[1, 0])
    sli.backfill(desk.config, start="2024-01-15", end="2024-01-16", as_of="2024-03-01")
    return desk.root / "store"


def test_the_page_is_what_the_code_makes() -> None:
    text = "python tests/tables_page.py makes it anew"
    assert tables_page.PAGE.read_text(encoding="utf-8") == tables_page.page(), text


@pytest.mark.parametrize("name", LAYOUT)
def test_every_column_has_a_meaning_and_no_other_has(name: str) -> None:
    assert sorted(MEANINGS[name]) == sorted(LAYOUT[name][0].names)
    assert all(meaning.text for meaning in MEANINGS[name].values())
    assert TABLES[name]
    assert name in tables_page.ORDER


@pytest.mark.parametrize("name", LAYOUT)
def test_what_is_said_never_to_be_null_is_not(store: Path, name: str) -> None:
    rows = DeltaTable(store / name).to_pyarrow_table()
    assert len(rows)
    known = [column for column in rows.schema.names if column in MEANINGS[name]]
    assert known == LAYOUT[name][0].names
    null = {column for column in known if rows.column(column).null_count}
    assert null <= {column for column, meaning in MEANINGS[name].items() if meaning.null}


@pytest.mark.parametrize("name", LAYOUT)
def test_a_table_needs_no_more_of_a_reader_than_the_first_versions_of_the_protocol(store: Path, name: str) -> None:
    """Spark, Trino and others refuse, or read wrongly, tables with features that they do not know."""
    table = DeltaTable(store / name)
    protocol = table.protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert protocol.reader_features is None
    assert protocol.writer_features is None
    assert set(table.metadata().configuration) == {"delta.checkpointInterval", "delta.dataSkippingNumIndexedCols"}
    for field in table.schema().fields:
        assert field.nullable
        assert not field.metadata
        assert "ntz" not in str(field.type)
    assert table.metadata().partition_columns == LAYOUT[name][1]


def test_a_time_is_an_instant_in_utc_in_the_files_too(store: Path) -> None:
    import pyarrow.parquet as pq

    for file in (store / "results").rglob("*.parquet"):
        for column in ("window_start", "window_end", "as_of"):
            assert pq.read_schema(file).field(column).type == pa.timestamp("us", "UTC")
