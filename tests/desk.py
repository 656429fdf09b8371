"""A folder with two small logs and a config, and the command to try on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from builders import config_tree

import sli
from sli.command.cli import main

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
ZONED = pa.timestamp("us", tz="UTC")
N = 6


@dataclass(frozen=True)
class Said:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str

    def has(self, *parts: str) -> bool:
        """Whether every part was said, and nothing that looks like a crash."""
        everything = self.out + self.err
        assert "Traceback" not in everything
        for part in parts:
            assert part in everything, f"{part!r} is not in:\n{everything}"
        return True


@dataclass(frozen=True)
class Desk:
    """A folder with two logs of six good pairs in one hour, a config, and the command."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    @classmethod
    def made(cls, root: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
        desk = cls(root, capsys)
        desk.configure()
        desk.predictions()
        desk.feedback()
        return desk

    @property
    def config(self) -> Path:
        return self.root / "c.yaml"

    def configure(self, **changes: Any) -> None:
        """Write the config; `a__b=value` sets key b under a."""
        self.config.write_text(yaml.safe_dump(config_tree(**changes)))

    def predictions(self, name: str = "a.parquet", prefix: str = "p", n: int = N, **changes: Any) -> Path:
        columns = {
            "output_id": [f"{prefix}{i}" for i in range(n)],
            "predicted_at": pa.array([TEN + timedelta(milliseconds=i) for i in range(n)], ZONED),
            "score": [(i % N + 0.5) / N for i in range(n)],
        }
        return self._write(f"predictions/{name}", columns | changes)

    def feedback(self, name: str = "a.parquet", prefix: str = "p", n: int = N, **changes: Any) -> Path:
        columns = {
            "output_id": [f"{prefix}{i}" for i in range(n)],
            "known_at": pa.array([TEN + timedelta(hours=1, milliseconds=i) for i in range(n)], ZONED),
            "label": [i % 2 for i in range(n)],
        }
        return self._write(f"feedback/{name}", columns | changes)

    def _write(self, name: str, columns: dict[str, Any]) -> Path:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        kept = {key: value for key, value in columns.items() if value is not None}
        pq.write_table(pa.table(kept), path, compression="none")
        return path

    def call(self, *arguments: str) -> Said:
        try:
            code = main(arguments)
        except SystemExit as exit:  # argparse leaves this way
            code = int(exit.code or 0)
        said = self.capsys.readouterr()
        return Said(code, said.out, said.err)

    def run(self, *arguments: str) -> Said:
        given = arguments if "--as-of" in arguments else ("--as-of", "2024-02-01", *arguments)
        return self.call("run", str(self.config), *given)

    def backfill(self, start: str, end: str, *arguments: str) -> Said:
        asked = ("--start", start, "--end", end, "--as-of", "2024-02-01")
        return self.call("backfill", str(self.config), *asked, *arguments)

    def counts(self) -> tuple[int, int]:
        """Predictions and labelled ones published in the hour from ten."""
        [row] = sli.read(self.config, sli="accuracy", grain="hour", slice={}).itertuples()
        return row.predictions, row.labelled

    def audit(self) -> dict[tuple[str, str], int]:
        return {(row.log, row.check): row.count for row in sli.read(self.config, table="audit").itertuples()}

    @property
    def untouched(self) -> bool:
        """Whether nothing was published."""
        return not (self.root / "store/results").exists()
