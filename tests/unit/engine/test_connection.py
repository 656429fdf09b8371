"""Errors of a query that come after its first rows are those of DuckDB."""

from __future__ import annotations

import duckdb
import fsspec
import pyarrow as pa
import pytest

from sli.engine.connection import batches_of, connect, connected
from sli.engine.expression import restrict_access

LATE = "SELECT CASE WHEN i = 900000 THEN {} ELSE i END AS v FROM range(1000000) t(i)"


@pytest.mark.parametrize(
    ("fails", "text"),
    [("CAST('x' || i AS DOUBLE)", "Conversion Error: Could not convert"), ("error('no')", "Invalid Input Error: no")],
)
def test_an_error_after_the_first_rows_is_one_of_duckdb(fails: str, text: str) -> None:
    con = connect(1, 0)
    batches = batches_of(con.sql(LATE.format(fails)), 1000)
    assert len(next(batches))
    with pytest.raises(duckdb.Error, match=text) as raised:
        list(batches)
    assert not isinstance(raised.value, duckdb.IOException)


def test_memory_that_runs_out_and_an_interruption_have_their_own_types() -> None:
    for kind, error in (
        ("Out of Memory Error", duckdb.OutOfMemoryException),
        ("INTERRUPT Error", duckdb.InterruptException),
        ("IO Error", duckdb.IOException),
    ):
        with pytest.raises(error, match=kind):
            list(batches_of(Failing(f"{kind}: at once"), 1000))  # type: ignore[arg-type]  # a relation that fails
    with pytest.raises(OSError, match="no text of DuckDB"):
        list(batches_of(Failing("no text of DuckDB"), 1000))  # type: ignore[arg-type]


def test_a_database_goes_on_as_it_was_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes next sees nothing of those before, and can do all that they could."""
    opened, connect = [], duckdb.connect
    monkeypatch.setattr("sli.engine.connection._IDLE", {})
    monkeypatch.setattr(duckdb, "connect", lambda **given: opened.append(given) or connect(**given))
    changes = {
        "nothing": lambda con: con.execute("CREATE TEMP TABLE seen AS SELECT 1"),
        "access": restrict_access,
        "arrow": lambda con: con.execute("SET arrow_lossless_conversion=true"),
        "files": lambda con: con.register_filesystem(fsspec.filesystem("memory")),
    }
    for kind, change in changes.items():
        with connected(1, 99 << 20) as con:
            con.execute("SET VARIABLE marked=true")
            change(con)
        for _ in range(2):
            with connected(1, 99 << 20) as con:
                assert con.execute("SELECT getvariable('marked')").fetchall() == [(None,)], kind
                assert con.execute("SELECT count(*) FROM glob('/*')").fetchall()[0][0] > 0, kind
                assert con.sql("SELECT '{}'::JSON AS j").to_arrow_table().schema.field("j").type == pa.string(), kind
                assert not con.list_filesystems(), kind
                con.execute("CREATE TEMP TABLE seen AS SELECT 1")
    assert len(opened) == len(changes), "only a database that changed is opened again"


class Failing:
    """A relation whose reader fails."""

    def __init__(self, text: str) -> None:
        self.text = text

    def to_arrow_reader(self, _: int) -> None:
        raise OSError(self.text)
