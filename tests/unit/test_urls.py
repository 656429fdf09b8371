"""Logs may lie at any fsspec URL."""

from __future__ import annotations

from pathlib import Path

import fsspec
from oracle import Feedback, Prediction, World
from scenario import DAY, HOUR, Scenario, at, config_of, published, text

import sli
from sli.loading import checked

MONDAY = at("2024-01-01T00:00")
WORLD = World(
    task="binary",
    horizon=DAY,
    since=MONDAY,
    zone="UTC",
    slice_by=((),),
    grains=("hour", "cumulative"),
    slis=("accuracy", "roc_auc"),
)


def test_logs_in_another_file_system_give_the_same_tables(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path, WORLD)
    scenario.log_predictions("a.parquet", [Prediction(f"id-{i}", MONDAY + i * HOUR, i / 9, {}) for i in range(10)])
    rows = [Feedback(f"id-{i % 10}", MONDAY + i * HOUR + 1, float(i % 3 == 0)) for i in range(0, 14, 2)]
    scenario.log_feedback("a.parquet", rows)
    memory = fsspec.filesystem("memory")
    tree = config_of(WORLD, tmp_path)
    for log in ("predictions", "feedback"):
        memory.pipe_file(f"/logs/{log}/a.parquet", (tmp_path / log / "a.parquet").read_bytes())
        tree[log]["path"] = f"memory://logs/{log}"
    there = checked(tree | {"store": str(tmp_path / "there")})
    scenario.run(MONDAY + 2 * DAY)
    assert sli.run(there, as_of=text(MONDAY + 2 * DAY)).published
    assert not sli.run(there, as_of=text(MONDAY + 2 * DAY)).published
    assert published(there) == published(scenario.config)
    assert sli.verify(there, windows=None).equal
