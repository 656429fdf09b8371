"""Errors of a query that come after its first rows are those of DuckDB."""

from __future__ import annotations

import duckdb
import pytest

from sli.engine.connection import batches_of, connect

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


class Failing:
    """A relation whose reader fails."""

    def __init__(self, text: str) -> None:
        self.text = text

    def to_arrow_reader(self, _: int) -> None:
        raise OSError(self.text)
