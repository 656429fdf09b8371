"""What tests start from: a small world for the oracle, the config of a small job, a scenario put back for each test."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oracle import World
from scenario import DAY, Scenario, at

MONDAY = at("2024-01-15T00:00")


def small_world(**changes: Any) -> World:
    """The accuracy of each hour over all predictions since a Monday; a test names only what it needs otherwise."""
    asked: dict[str, Any] = {
        "task": "binary",
        "horizon": DAY,
        "since": MONDAY,
        "zone": "UTC",
        "slice_by": ((),),
        "grains": ("hour",),
        "slis": ("accuracy",),
    }
    return World(**asked | changes)


def config_tree(
    folder: Path | str | None = None,
    predictions: Mapping[str, Any] | None = None,
    feedback: Mapping[str, Any] | None = None,
    /,
    **changes: Any,
) -> dict[str, Any]:
    """The config of a small binary job on the logs `predictions` and `feedback` of a folder, or beside the config.

    The second and third argument change keys of the logs, `changes` those of the config; `a__b` is the key b of a.
    """
    base = "" if folder is None else f"{folder}/"
    logs = {
        "predictions": {"id": "output_id", "time": "predicted_at", "value": "score", **(predictions or {})},
        "feedback": {"id": "output_id", "time": "known_at", "value": "label", **(feedback or {})},
    }
    tree: dict[str, Any] = {
        "model": "m",
        "since": "2024-01-15",
        "store": f"{base}store",
        "horizon": "1d",
        "task": "binary",
        **{log: {"path": f"{base}{log}", **columns} for log, columns in logs.items()},
        "slis": ["accuracy"],
        "grains": ["hour"],
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        at: Any = tree
        for name in parents:
            at = at[name]
        at[last] = value
    return tree


class Template:
    """A scenario that takes long to make: made once, and put back in the same place for each test.

    The same place, since paths and times of files are part of what a run rests on.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.copy = scenario.root.with_name(f"{scenario.root.name}-copy")
        shutil.copytree(scenario.root, self.copy)

    def restored(self) -> Scenario:
        shutil.rmtree(self.scenario.root)
        shutil.copytree(self.copy, self.scenario.root)
        logs = {log: dict(getattr(self.scenario, log)) for log in ("predictions", "feedback")}
        return replace(self.scenario, **logs)
