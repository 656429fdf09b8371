"""Each entry of docs/logs.md is run by the product: its logs are written, its config used, its results compared.

Cells are as in YAML: `0.9` a number, `"yes"` a text, `{score: 0.9}` a struct, `2024-01-15T10:00` a timestamp.
`file PATH on DAY:` writes rows to a Parquet file that was written on that day, `table PATH:` to a Delta table.
`run CONFIG on DAY:` runs a config that a step `file` wrote, and `results CONFIG:` shows its results.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import write_deltalake
from examples import BLOCK, CONFIG, Example, rows_of, show

import sli

PAGE = (Path(__file__).parents[2] / "docs/logs.md").read_text()
ENTRIES = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
BLOCKS = [pytest.param(block, id=title) for title, text in ENTRIES for block in BLOCK.findall(text)]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")


def cell(text: str) -> Any:
    return pd.Timestamp(text) if TIME.fullmatch(text) else yaml.safe_load(text)


def table(lines: list[str]) -> pa.Table:
    header, *rows = rows_of(lines)
    columns = zip(*([cell(text) for text in row] for row in rows), strict=True)
    return pa.table({name: pa.array(values) for name, values in zip(header, columns, strict=True)})


class Entry(Example):
    """An entry of the page; its config starts as the page says."""

    def __init__(self, root: Path) -> None:
        self.root, self.files, self.error = root, 0, ""
        self.config = {**CONFIG, "horizon": "7d", "grains": ["day"]}

    def step(self, name: str, argument: str, lines: list[str]) -> None:
        path, _, day = argument.partition(" on ")
        if name == "file" and path.endswith(".parquet"):
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table(lines), self.root / path)
            if day:
                os.utime(self.root / path, (pd.Timestamp(day, tz="UTC").timestamp(),) * 2)
        elif name == "table":
            mode = "overwrite" if (self.root / argument).exists() else "error"
            write_deltalake(self.root / argument, table(lines), mode=mode)
        elif name == "run" and day:
            sli.run(self.root / path, as_of=day)
        elif name == "results" and path:
            assert self.shown(sli.read(self.root / path), lines) == rows_of(lines)[1:]
        else:
            super().step(name, argument, lines)


def test_every_entry_shows_its_log_and_its_config() -> None:
    assert len(ENTRIES) >= 12
    assert [title for title, text in ENTRIES if not BLOCK.search(text)] == []


@pytest.mark.parametrize("block", BLOCKS)
def test_an_entry_shows_what_the_product_does(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    show(Entry(tmp_path), block)
