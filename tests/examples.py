"""Examples of the docs: each is a fenced block of steps, which the product runs; the tables it shows must be there.

`predictions:` and `feedback:` add a file of rows to a log, `file NAME:` adds one of plain text, `config:` changes the
config; `run:`, `backfill:`, `verify:` and `plan:` do what the command does; `format:` changes the format of the store.
`results:`, `audit:` and so on show all rows of a table, in the columns that the example names; `error:` shows a part
of a message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import sli
from sli import schemas
from sli.errors import SliError
from sli.planning.plan import Plan
from sli.publishing.store import STATE_KEY, Store
from sli.reading.verify import Verification

BLOCK = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONFIG = {
    "model": "example",
    "timezone": "UTC",
    "since": "2024-01-15",
    "store": "store",
    "horizon": "1d",
    "task": "binary",
    "predictions": {"path": "predictions", "id": "id", "time": "time", "value": "score"},
    "feedback": {"path": "feedback", "id": "id", "time": "time", "value": "label"},
    "slis": ["accuracy"],
    "grains": ["hour"],
    "dask": "in-process",
}
TABLES = ("results", "audit", "revisions", "backfills", "runs")


def rows_of(lines: list[str]) -> list[list[str]]:
    """The cells of each line. Two spaces or more separate cells, since a cell may contain single spaces."""
    return [re.split(" {2,}", line.strip()) for line in lines]


def value(text: str) -> Any:
    return None if text == "null" else float(text)


def shown(cell: Any) -> str:
    """A cell as an example shows it."""
    if isinstance(cell, pd.Timestamp):
        return cell.strftime("%Y-%m-%dT%H:%M")
    if cell is None or (isinstance(cell, float) and pd.isna(cell)):
        return "null"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


class Example:
    """The folder in which an example runs, and its error if it had one."""

    def __init__(self, root: Path) -> None:
        self.root, self.config, self.files, self.error = root, CONFIG, 0, ""
        for log in ("predictions", "feedback"):
            (root / log).mkdir()

    def step(self, name: str, argument: str, lines: list[str]) -> None:
        if name == "config":
            self.config = {**self.config, **yaml.safe_load("\n".join(lines))}
        elif name == "file":
            (self.root / argument).parent.mkdir(exist_ok=True)
            (self.root / argument).write_text("\n".join(lines))
        elif name in ("predictions", "feedback"):
            self.log(name, lines)
        elif name == "error":
            assert " ".join("\n".join(lines).split()) in " ".join(self.error.split()), self.error
        elif name in TABLES:
            self.check(name, argument.removeprefix("known at ") or None, lines)
        else:
            self.do(name, argument.split(), lines)

    def log(self, log: str, lines: list[str]) -> None:
        header, *rows = rows_of(lines)
        frame = pd.DataFrame(rows, columns=header)
        frame["time"] = pd.to_datetime(frame["time"])
        for column in frame.columns.intersection(["score", "label"]):
            frame[column] = frame[column].map(value).astype(float)
        self.files += 1
        frame.to_parquet(self.root / log / f"{self.files}.parquet")

    def do(self, name: str, arguments: list[str], lines: list[str]) -> None:
        path = self.root / "sli.yaml"
        path.write_text(yaml.safe_dump(self.config))
        actions: dict[str, Callable[..., Any]] = {
            "run": lambda as_of: sli.run(path, as_of=as_of),
            "backfill": lambda start, end, as_of: sli.backfill(path, start=start, end=end, as_of=as_of),
            "plan": lambda as_of: self.planned(sli.plan(path, as_of=as_of), lines),
            "format": lambda number: self.with_format(int(number)),
            "verify": lambda: self.verified(sli.verify(path), lines),
        }
        try:
            actions[name](*arguments)
        except SliError as error:
            self.error = str(error)

    def planned(self, plan: Plan, lines: list[str]) -> None:
        assert lines == [f"  tiles: {plan.tiles}"]

    def with_format(self, number: int) -> None:
        """Publish the state of the store again, with this number of its format."""
        store = Store(str(self.root / "store"))
        results, state = store.tables.open("results"), store.published()
        assert results is not None
        assert state is not None
        newer = json.dumps(json.loads(state.to_json()) | {"format": number})
        results.write(schemas.RESULTS.empty_table(), metadata={STATE_KEY: newer})

    def verified(self, verification: Verification, lines: list[str]) -> None:
        assert lines == [f"  results that differ: {len(verification.differences)}"]

    def check(self, table: str, as_of: str | None, lines: list[str]) -> None:
        frame = sli.read(self.root / "sli.yaml", table=table, as_of=as_of)
        shown_rows = self.shown(frame, lines)
        assert shown_rows == rows_of(lines)[1:], shown_rows

    def shown(self, frame: pd.DataFrame, lines: list[str]) -> list[list[str]]:
        """The rows of a table as an example shows them, in the columns that it names."""
        return [[shown(cell) for cell in row] for row in frame[rows_of(lines)[0]].itertuples(index=False)]


def steps_of(block: str) -> list[tuple[str, str, list[str]]]:
    """Each step of an example: its name, the argument on its line, and the lines below it."""
    steps: list[tuple[str, str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith(" "):
            steps[-1][2].append(line)
        else:
            head, _, after = line.partition(":")
            name, _, before = head.partition(" ")
            steps.append((name, before or after.strip(), []))
    return steps


def show(example: Example, block: str) -> None:
    """Run the steps of a block; fails if anything is not as it shows."""
    for name, argument, lines in steps_of(block):
        example.step(name, argument, lines)
    assert not example.error or "\nerror:" in f"\n{block}", example.error
