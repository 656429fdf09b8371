"""A small model whose hourly run nobody watches, with hours that pass at once: each one makes the files an hour older.

What the product sees is a store whose files were written when the simulated hours were. Limit: the clock of this
machine itself does not move, and nothing of the product goes by it here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from builders import config_tree

import sli
from sli.config.load import checked
from sli.runs.outcome import Outcome

START = pd.Timestamp("2024-01-15", tz="UTC")
HOUR = pd.Timedelta(hours=1)
MICROS = pa.timestamp("us", "UTC")
PREDICTIONS = pa.schema({"output_id": pa.string(), "predicted_at": MICROS, "score": pa.float64()})
FEEDBACK = pa.schema({"output_id": pa.string(), "known_at": MICROS, "label": pa.bool_()})
LATEST = 24
"""Labels come within so many hours."""


class Unattended:
    """Its logs, a file of each an hour, and its store, below a folder."""

    def __init__(self, folder: Path, an_hour: int = 5, **keys: Any) -> None:
        self.folder, self.an_hour, self.hours = folder, an_hour, 0
        self.random = np.random.default_rng(20240115)
        store = {"path": f"{folder}/store", "keep_files": "1d"}
        # Ids do not come again, so a run need not look for them in the files of a month.
        keys = {"grains": ["hour", "day"], "duplicates_within": "1d", "store": store, **keys}
        self.config = checked(config_tree(folder, **keys))
        self._labels: list[pd.DataFrame] = []

    @property
    def now(self) -> pd.Timestamp:
        return START + self.hours * HOUR

    def pass_hours(self, count: int = 1) -> Outcome:
        """Some hours of logs, and the run after them."""
        for _ in range(count):
            self._log()
            self.hours += 1
        outcome = sli.run(self.config, as_of=self.now)
        self._age(count)
        return outcome

    def _log(self) -> None:
        count, begin = self.an_hour, self.now
        times = (begin + pd.to_timedelta(np.sort(self.random.random(count)), unit="h")).floor("us")
        ids, scores = [f"{self.hours}-{row}" for row in range(count)], self.random.random(count)
        self._write("predictions", PREDICTIONS, {"output_id": ids, "predicted_at": list(times), "score": scores})
        delays = pd.to_timedelta(np.minimum(self.random.exponential(3, count), LATEST - 1), unit="h").floor("us")
        labels = self.random.random(count) < scores
        self._labels.append(pd.DataFrame({"output_id": ids, "known_at": times + delays, "label": labels}))
        self._labels = self._labels[-LATEST:]
        known = pd.concat(self._labels)
        arrived = known[(known["known_at"] >= begin) & (known["known_at"] < begin + HOUR)]
        self._write("feedback", FEEDBACK, {name: list(arrived[name]) for name in arrived})

    def _write(self, log: str, schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> None:
        path = self.folder / log / f"date={self.now:%Y-%m-%d}" / f"{self.now:%H}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns, schema=schema), path)

    def files(self) -> Iterator[Path]:
        """The files of the store."""
        for folder, _, names in os.walk(self.config.store):
            yield from (Path(folder, name) for name in names)

    def _age(self, hours: int) -> None:
        for path in self.files():
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - hours * 3600 * 10**9))

    def results(self, as_of: pd.Timestamp | None = None) -> pd.DataFrame:
        """The results in the order of their keys; as known now, or at a time."""
        rows = sli.read(self.config, as_of=as_of)
        return rows.sort_values(["sli", "grain", "window_start", "window_end"], ignore_index=True)
