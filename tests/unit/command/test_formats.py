"""Rows leave as CSV, JSON and Parquet, and come back as they were, whatever their names and texts hold."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from desk import Desk
from hypothesis import given
from hypothesis import strategies as st

import sli
from sli.command.formats import write_csv, write_json, write_parquet
from sli.reading.rows import Rows, rows_of_frame
from sli.schemas import SLICE
from sli.schemas import UTC as UTC_TIME

TEXTS = st.text(st.sampled_from("ab\",;'\n\r\t\\{}[]:= 羽✈️\u2028\x00é") | st.characters(codec="utf-8"), max_size=8)
NUMBERS = st.floats() | st.sampled_from([0.1, 1e300, -0.0, 1 / 3, 30976.0])
SCHEMA = pa.schema(
    [
        ("sli", pa.string()),
        ("slice_by", pa.list_(pa.string())),
        ("slice", SLICE),
        ("value", pa.float64()),
        ("predictions", pa.int64()),
        ("window_end", UTC_TIME),
    ]
)
TIMES = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
ROWS = st.fixed_dictionaries(
    {
        "sli": TEXTS | st.none(),
        "slice_by": st.lists(TEXTS, max_size=2) | st.none(),
        "slice": st.dictionaries(TEXTS, TEXTS | st.none(), max_size=2).map(lambda slice: [*slice.items()]) | st.none(),
        "value": NUMBERS | st.none(),
        "predictions": st.integers(-(2**63), 2**63 - 1) | st.none(),
        "window_end": TIMES | st.none(),
    }
)
TABLES = st.lists(ROWS, max_size=5).map(lambda rows: pa.Table.from_pylist(rows, schema=SCHEMA))


def rows_of(table: pa.Table, name: str = "") -> Rows:
    """The rows in batches of two; their first column has this name, if any."""
    if name:
        table = table.rename_columns([name, *table.schema.names[1:]])
    return Rows(schema=table.schema, batches=table.to_batches(max_chunksize=2))


def written(writer: Any, rows: Rows) -> bytes:
    out = io.BytesIO()
    writer(rows, out)
    return out.getvalue()


def fields(text: str) -> list[list[str | None]]:
    """The fields of CSV by its grammar; None is a field without quotes and text."""
    rows: list[list[str | None]] = []
    row: list[str | None] = []
    at = 0
    while at < len(text):
        if text[at] == '"':
            field, at = "", at + 1
            while text[at] != '"' or text[at + 1] == '"':
                field += text[at]
                at += 1 + (text[at] == '"')
            at += 1
            row.append(field)
        else:
            end = min(place for place in (text.find(",", at), text.find("\n", at)) if place >= 0)
            row.append(text[at:end] or None)
            at = end
        if text[at] == "\n":
            rows.append(row)
            row = []
        elif text[at + 1] == "\n":  # the last field is null
            rows.append([*row, None])
            row, at = [], at + 1
        at += 1
    return rows


@given(TABLES, st.sampled_from(["", 'a "name", of\ntwo lines ✈️']))
def test_csv_loses_nothing(table: pa.Table, name: str) -> None:
    text = written(write_csv, rows_of(table, name)).decode()
    header, *found = fields(text)
    assert header == [name or "sli", *SCHEMA.names[1:]]
    assert [len(row) for row in found] == [len(SCHEMA)] * len(table)
    read: dict[str, Any] = {
        "sli": str,
        "slice_by": json.loads,
        "slice": lambda cell: [*json.loads(cell).items()],
        "value": float,
        "predictions": int,
        "window_end": datetime.fromisoformat,
    }
    back = [
        {column: None if cell is None else read[column](cell) for column, cell in zip(SCHEMA.names, row, strict=True)}
        for row in found
    ]
    assert repr(back) == repr([row | _micros(row) for row in table.to_pylist()])


def _micros(row: dict[str, Any]) -> dict[str, Any]:
    time = row["window_end"]
    return {"window_end": None if time is None else time.astimezone(UTC).replace(tzinfo=UTC)}


@given(TABLES, st.sampled_from(["", 'a "name", of\ntwo lines ✈️']))
def test_json_loses_nothing(table: pa.Table, name: str) -> None:
    text = written(write_json, rows_of(table, name)).decode()
    found = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert len(text.splitlines() if "\u2028" not in text else text.split("\n")) >= len(table)
    for row, expected in zip(found, table.to_pylist(), strict=True):
        assert [*row] == [name or "sli", *SCHEMA.names[1:]]
        assert row[name or "sli"] == expected["sli"]
        assert row["slice_by"] == expected["slice_by"]
        assert row["slice"] == (None if expected["slice"] is None else dict(expected["slice"]))
        assert row["predictions"] == expected["predictions"]
        value = expected["value"]
        assert row["value"] is value or repr(float(row["value"])) == repr(value)
        time = expected["window_end"]
        assert (row["window_end"] and datetime.fromisoformat(row["window_end"])) == time


@given(TABLES)
def test_parquet_loses_nothing(table: pa.Table) -> None:
    found = pq.read_table(io.BytesIO(written(write_parquet, rows_of(table))))
    assert found.schema.equals(table.schema)
    assert repr(found.to_pylist()) == repr(table.to_pylist())


def test_a_null_alone_in_its_row_is_still_a_row() -> None:
    table = pa.table({"value": pa.array([1.5, None, 2.5])})
    text = written(write_csv, rows_of(table)).decode()
    assert len(pd.read_csv(io.StringIO(text))) == 3
    assert len([*csv.reader(io.StringIO(text))]) == 4


def test_infinity_is_valid_json() -> None:
    table = pa.table({"value": [math.inf, -math.inf, math.nan]})
    found = json.loads(written(write_json, rows_of(table)))
    assert [row["value"] for row in found] == ["Infinity", "-Infinity", "NaN"]


ODD = 'say "hi", it\'s\n✈️'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    desk = Desk(tmp_path_factory.mktemp("formats"), None)  # type: ignore[arg-type]
    slis = [{"name": "mean", "sli": "mean", "of": "prediction"}, "recall", {"name": "p50", "sli": "quantile", "q": 0.5}]
    desk.configure(slis=slis, slice_by=[[], ["site ✈️"]], grains=["hour", "day"])
    desk.predictions(**{"site ✈️": ["A", ODD, None] * 2})
    desk.feedback(label=[0] * 6)
    sli.run(desk.config, as_of="2024-02-01")
    return desk.root


COMMANDS = [
    ["show", "--by", "site ✈️"],
    ["show", "--table", "revisions"],
    ["show", "--table", "audit"],
    ["show", "--table", "runs"],
    ["query", "recall", "--by", "site ✈️"],
    ["query", "p50", "--values"],
    ["sql", "select * from current order by all"],
]


def printed(desk: Desk, capfdbinary: Any, command: list[str], format: str) -> bytes:
    from sli.command.cli import main

    name, *more = command
    assert main([name, str(desk.config), *more, "--format", format]) == 0
    out: bytes = capfdbinary.readouterr().out
    return out


@pytest.fixture
def desk(root: Path) -> Desk:
    return Desk(root, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_format_of_a_command_has_the_same_rows(desk: Desk, capfdbinary: Any, command: list[str]) -> None:
    table = pq.read_table(io.BytesIO(printed(desk, capfdbinary, command, "parquet")))
    found = json.loads(printed(desk, capfdbinary, command, "json"))
    header, *rows = fields(printed(desk, capfdbinary, command, "csv").decode())
    assert header == table.schema.names
    assert len(table) == len(found) == len(rows)
    assert len(table) > 0 or "audit" in command
    for row in found:
        assert [*row] == header
    if "slice" in header and "revisions" not in command and "query" not in command:
        assert {"site ✈️": ODD} in [row["slice"] for row in found]
        assert {"site ✈️": None} in [row["slice"] for row in found]
        assert {"site ✈️": ODD} in [json.loads(row[header.index("slice")] or "") for row in rows]
        assert [("site ✈️", ODD)] in table.column("slice").to_pylist()
    if "value" in header:
        assert table.schema.field("value").type in (pa.float64(), pa.string())


def test_the_json_format_has_what_json_has(desk: Desk, capfdbinary: Any) -> None:
    from sli.command.cli import main

    lines = printed(desk, capfdbinary, ["show", "--by", "site ✈️"], "json")
    assert main(["show", str(desk.config), "--by", "site ✈️", "--json"]) == 0
    assert json.loads(lines) == json.loads(capfdbinary.readouterr().out)
    assert len(lines.splitlines()) == len(json.loads(lines)) + 2


def test_a_column_without_any_value_keeps_its_type(desk: Desk) -> None:
    frame = sli.read(desk.config, sli="recall")
    assert frame.value.isna().all()
    schema = rows_of_frame(frame).schema
    assert schema.field("value").type == pa.float64()
    assert schema.field("objective").type == pa.string()


def test_a_terminal_gets_no_parquet(desk: Desk) -> None:
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "sli.command.cli", "show", str(desk.config), "--format", "parquet"]
    found = subprocess.run(command, stdout=its, stderr=subprocess.PIPE, text=True, env=os.environ, check=False)
    os.close(its)
    os.close(ours)
    assert found.returncode == 2
    assert "a terminal cannot show Parquet" in found.stderr
    assert "> rows.parquet" in found.stderr


def test_a_pipe_gets_parquet_and_utf_8_whatever_the_locale_is(desk: Desk) -> None:
    def out(format: str) -> bytes:
        command = [sys.executable, "-m", "sli.command.cli", "sql", str(desk.config), "from daily", "--format", format]
        environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
        return subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout

    assert len(pq.read_table(io.BytesIO(out("parquet")))) == 12
    assert "✈️".encode() in out("csv")
    assert "✈️".encode() in out("json")


def test_several_configs_have_no_format(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    said = Desk(desk.root, capsys).call("show", str(desk.config), str(desk.config), "--format", "csv")
    assert said.code == 2
    assert said.has("--format takes one config")
