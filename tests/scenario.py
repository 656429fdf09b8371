"""A small world on disk: logs as Parquet files, a config, runs, and the comparison of all tables with the oracle."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from oracle import Feedback, Prediction, World, oracle, outcomes
from oracle import Outcome as Group

import sli
from sli.config.load import checked
from sli.config.model import Config
from sli.planning.published import Published
from sli.publishing.store import Store
from sli.reading.read import standing_audit
from sli.runs.outcome import Outcome
from sli.slis.outcomes import ages_end, fields_of

HOUR = 3_600_000_000
DAY = 24 * HOUR
UTC_TIME = pa.timestamp("us", tz="UTC")


def at(text: str) -> int:
    """UTC microseconds of an ISO 8601 time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def text(micros: int) -> str:
    """ISO 8601 of an instant."""
    return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000).isoformat()


def length(micros: int) -> str:
    return f"{micros // 1_000_000}s"


@dataclass
class Scenario:
    """Two logs under `root`; `files` maps a file name to its rows."""

    root: Path
    world: World
    settings: Mapping[str, Any] = field(default_factory=dict)
    predictions: dict[str, list[Prediction]] = field(default_factory=dict)
    feedback: dict[str, list[Feedback]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    """Columns that files of predictions have whether or not the world slices by them."""

    def __post_init__(self) -> None:
        (self.root / "predictions").mkdir(parents=True, exist_ok=True)
        (self.root / "feedback").mkdir(parents=True, exist_ok=True)

    def log_predictions(self, name: str, rows: Iterable[Prediction]) -> None:
        rows = self.predictions[name] = list(rows)
        columns = sorted({*self.columns, *(column for by in self.world.slice_by for column in by)})
        table = {
            "output_id": pa.array([r.id for r in rows], pa.string()),
            "predicted_at": pa.array([r.time for r in rows], pa.int64()).cast(UTC_TIME),
            "score": pa.array([r.value for r in rows], pa.float64()),
            **{column: pa.array([r.slices[column] for r in rows], pa.string()) for column in columns},
        }
        self._write("predictions", name, table)

    def log_feedback(self, name: str, rows: Iterable[Feedback]) -> None:
        rows = self.feedback[name] = list(rows)
        table = {
            "output_id": pa.array([r.id for r in rows], pa.string()),
            "known_at": pa.array([r.time for r in rows], pa.int64()).cast(UTC_TIME),
            "label": pa.array([r.value for r in rows], pa.float64()),
        }
        self._write("feedback", name, table)

    def _write(self, log: str, name: str, table: dict[str, Any]) -> None:
        path = self.root / log / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), path)

    def remove(self, log: str, name: str) -> None:
        del getattr(self, log)[name]
        (self.root / log / name).unlink()

    @property
    def config(self) -> Config:
        return checked(config_of(self.world, self.root) | dict(self.settings))

    def run(self, as_of: int, **given: Any) -> Outcome:
        return sli.run(self.config, as_of=text(as_of), **given)

    def backfill(self, as_of: int, start: str, end: str, **given: Any) -> Outcome:
        """The outcome of the last chunk."""
        return sli.backfill(self.config, as_of=text(as_of), start=start, end=end, **given).runs[-1]

    def answer(self, as_of: int) -> Any:
        predictions = [row for rows in self.predictions.values() for row in rows]
        feedback = [row for rows in self.feedback.values() for row in rows]
        return oracle(self.world, predictions, feedback, as_of)

    def check(self, as_of: int, read_as_of: int | None = None) -> None:
        """All results, and the audit of the newest run, equal the oracle's at `as_of`."""
        found = published(self.config, read_as_of)
        expected = self.answer(as_of).results
        missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
        assert not missing, f"{len(missing)} rows are missing, such as {sorted(missing, key=str)[:3]}"
        assert not extra, f"{len(extra)} rows too many, such as {sorted(extra, key=str)[:3]}"
        for key, row in expected.items():
            value, bound, *rest = found[key]
            assert rest == [row.reason, row.predictions, row.labelled, row.maturity], f"{key}: {rest} is not {row}"
            assert near(value, row.value, bound), f"{key}: {value} is not {row.value}"
        if read_as_of is None:
            self.check_audit(as_of)
            self.check_outcomes(as_of)

    @property
    def published(self) -> Published | None:
        return Store(self.config.store).published()

    def tiles(self, published: Published | None) -> dict[tuple[int, str, str], dict[str, Any]]:
        """The stored tiles of pairs by start, slice set and slice."""
        rows = Store(self.config.store).rows("tiles", published, only=ds.field("span") == "tile")
        return {(micros(row["start"]), row["slice_by"], row["slice"]): row for row in rows.to_pylist()}

    def check_outcomes(self, as_of: int) -> None:
        """The outcomes in the stored tiles of hours equal the oracle's."""
        kept = self.config.outcomes
        # Rows of slices that the config no longer has stay in days that no run touched since.
        declared = [",".join(columns) for columns in self.config.slice_sets]
        found = {}
        for row in self.tiles(self.published).values():
            if row["slice_by"] not in declared:
                continue
            for group in row[kept.state.id] or ():
                (bin_,), (labelled,), (positive,), (step,) = fields_of(np.array([group["key"]], dtype=object))
                edges = kept.edges(int(bin_))
                least = None if edges is None else min(edges, key=abs)
                label, age = (float(positive), int(ages_end(step - 1))) if labelled else (None, None)
                slice_ = tuple(sorted(json.loads(row["slice"]).items()))
                by = tuple(filter(None, row["slice_by"].split(",")))
                key = Group(micros(row["start"]), by, slice_, least, label, age)
                total = int(group["whole"]) + int(group["fraction"]) / 2**80
                found[key] = group["count"], total * kept.unit
        expected = outcomes(self.world, self.answer(as_of).pairs, self.config.tile)
        assert found.keys() == expected.keys(), f"outcomes: {found} are not {expected}"
        for key, (count, total) in expected.items():
            assert found[key][0] == count, key
            assert math.isclose(found[key][1], total, rel_tol=1e-9, abs_tol=1e-12), key

    def check_audit(self, as_of: int) -> None:
        counts: dict[tuple[str, str], int] = {}
        for row in standing_audit(self.config).itertuples():
            key = (row.log, row.check.split(":")[0])
            counts[key] = counts.get(key, 0) + row.count
        expected = self.answer(as_of).audit
        assert counts == expected, f"the audit is {counts}, not {expected}"


def published(config: Config, as_of: int | None = None) -> dict[Any, tuple[Any, ...]]:
    """All result rows by the oracle's key."""
    frame = sli.read(config, as_of=None if as_of is None else text(as_of))
    found = {}
    for row in frame.itertuples():
        slice_ = tuple(sorted(row.slice.items()))
        key = (row.sli, row.grain, micros(row.window_start), micros(row.window_end), row.slice_by, slice_)
        assert key not in found, f"two rows for {key}"
        value = None if math.isnan(row.value) else row.value
        bound = 0.0 if math.isnan(row.error_bound) else row.error_bound
        reason = row.reason if isinstance(row.reason, str) else None
        found[key] = (value, bound, reason, row.predictions, row.labelled, row.maturity)
    return found


def micros(moment: Any) -> int:
    return round(moment.timestamp() * 1_000_000)


def near(a: float | None, b: float | None, bound: float) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12 + bound)


def config_of(world: World, root: Path) -> dict[str, Any]:
    """The config that asks for a world."""
    grains = []
    for grain in world.grains:
        if isinstance(grain, str):
            grains.append(grain)
        else:
            size, every = (f"{n}d" if unit == "d" else length(n) for unit, n in grain[2:])
            grains.append({"size": size, "every": every})
    within = world.duplicates_within
    return {
        **({} if within is None else {"duplicates_within": "forever" if within == -1 else length(within)}),
        "model": "test",
        "timezone": world.zone,
        "since": text(world.since),
        "store": str(root / "store"),
        "horizon": length(world.horizon),
        "predictions": {
            "path": str(root / "predictions"),
            "id": "output_id",
            "time": "predicted_at",
            "value": "score",
            "keep": world.predictions_keep,
        },
        "feedback": {
            "path": str(root / "feedback"),
            "id": "output_id",
            "time": "known_at",
            "value": "label",
            "keep": world.feedback_keep,
            "nulls": world.feedback_nulls,
            "early": length(world.early),
        },
        "task": world.task,
        "threshold": world.threshold,
        "slice_by": [{"columns": list(each), "top": world.top} if each else [] for each in world.slice_by],
        "min_support": world.min_support,
        # Ids of random worlds are meant to repeat.
        "max_conflicts": 1,
        "grains": grains,
        "slis": [_declared(name, world) for name in world.slis],
    }


def _declared(name: str, world: World) -> Any:
    if name.startswith("difference_"):
        start, end = (text(each) for each in world.reference)
        against = "previous" if name == "difference_previous" else {"start": start, "end": end}
        return {"name": name, "sli": "mean_difference", "against": against}
    for kind in ("quantile", "feedback_delay"):
        if name.startswith(f"{kind}_"):
            return {"name": name, "sli": kind, "q": int(name.rsplit("_", 1)[1]) / 100}
    return name
