"""Files of other kinds than Parquet are refused with a command that converts them, and the command runs."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest
from builders import config_tree

import sli
from sli.config.load import checked
from sli.errors import InputError
from sli.logs.conversion import conversion

ROWS = pa.table({"output_id": ["a", "b"], "score": [0.5, 1.5]})
LINES = "\n".join(json.dumps(row) for row in ROWS.to_pylist())
WRITERS: dict[str, Callable[[Path], object]] = {
    ".csv": lambda path: path.write_text("output_id,score\na,0.5\nb,1.5\n"),
    ".csv.gz": lambda path: path.write_bytes(gzip.compress(b"output_id,score\na,0.5\nb,1.5\n")),
    ".json": lambda path: path.write_text(json.dumps(ROWS.to_pylist())),
    ".jsonl": lambda path: path.write_text(LINES),
    ".json.gz": lambda path: path.write_bytes(gzip.compress(LINES.encode())),
    ".feather": lambda path: feather.write_feather(ROWS, path),
    ".arrow": lambda path: feather.write_feather(ROWS, path, compression="uncompressed"),
    ".orc": lambda path: orc.write_table(ROWS, path),
}


def code(todo: str) -> str:
    """The Python in the command of a message, as a shell would pass it on."""
    found = re.search(r'`python -c "(.*)"`', todo)
    assert found
    return found[1].replace('\\"', '"')


@pytest.mark.parametrize("kind", WRITERS)
def test_the_code_that_a_message_tells_makes_parquet_of_a_folder(kind: str, tmp_path: Path) -> None:
    for name in ("logs/a", "logs/day=1/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        WRITERS[kind](tmp_path / f"{name}{kind}")
    todo = conversion([f"{tmp_path}/logs/a{kind}"], f"{tmp_path}/logs/", "predictions.path")
    assert todo.endswith(f"give {tmp_path}/logs.parquet as `predictions.path`")
    exec(code(todo), {})
    assert sorted(pq.read_table(tmp_path / "logs.parquet", columns=ROWS.schema.names).to_pylist(), key=str) == [
        row for row in ROWS.to_pylist() for _ in range(2)
    ]


def test_the_command_runs_in_a_shell(tmp_path: Path) -> None:
    WRITERS[".csv"](tmp_path / "a.csv")
    todo = conversion([f"{tmp_path}/a.csv"], f"{tmp_path}/a.csv", "predictions.path")
    command = todo.split("`")[1].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True)
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 2


@pytest.mark.parametrize(
    ("path", "source", "target"),
    [
        ("/logs/2026-*/*.csv", "('/logs/2026-*/*.csv')", "'/logs.parquet'"),
        ("/logs/2026-*", "('/logs/2026-*/**/*.csv')", "'/logs.parquet'"),
        ("/lo'gs", "('logs/**/*.csv')", "'logs.parquet'"),
        ("s3://bucket/logs", "('s3://bucket/logs/**/*.csv')", "'s3://bucket/logs.parquet'"),
    ],
)
def test_the_command_reads_what_the_path_names(path: str, source: str, target: str) -> None:
    todo = conversion(["/logs/2026-01/a.csv", "/logs/2026-01/b.txt"], path, "predictions.path")
    assert f"read_csv{source}" in todo
    assert f"TO {target}" in todo


def test_a_log_of_other_files_is_refused_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    (tmp_path / "feedback").mkdir()
    WRITERS[".csv"](tmp_path / "predictions" / "a.csv")
    with pytest.raises(InputError, match=r"the predictions log is empty[\s\S]*1 \.csv file, no \.parquet") as caught:
        sli.plan(checked(config_tree(tmp_path)))
    assert "read_csv" in caught.value.todo
    assert conversion(["/logs/a.txt", "/logs/b"], "/logs", "predictions.path") == ""
    assert "DuckDB's extension `avro`" in conversion(["/logs/a.avro"], "/logs", "predictions.path")
