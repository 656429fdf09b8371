"""Incremental equals brute force: random histories of files and runs, the tables compared with the oracle."""

from __future__ import annotations

import math
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from oracle import Feedback, Prediction, World
from scenario import DAY, HOUR, Scenario, at

import sli
from sli.publishing.store import Store

START = at("2024-03-08T00:00")
BINARY = [
    "accuracy",
    "precision",
    "recall",
    "f1",
    "specificity",
    "log_loss",
    "brier",
    "roc_auc",
    "positive_rate",
    "prediction_rate",
    "true_positives",
    "false_positives",
    "true_negatives",
    "false_negatives",
    "count",
    "mean",
    "null_rate",
    "quantile_50",
    "feedback_delay_90",
    "difference_previous",
    "difference_fixed",
]
GRAINS = ["hour", "day", "week", "month", "cumulative"]
SLIDING = [
    ("sliding", "2d/1d", ("d", 2), ("d", 1)),
    ("sliding", "21600s/10800s", ("us", 6 * HOUR), ("us", 3 * HOUR)),
]
REGRESSION = ["mae", "mse", "rmse", "bias", "r2", "count", "mean", "null_rate", "quantile_25", "feedback_delay_50"]
REGRESSION += ["difference_previous", "difference_fixed"]


def world(pick: random.Random) -> World:
    task = pick.choice(["binary", "binary", "regression"])
    zone = pick.choice(["UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
    names = BINARY if task == "binary" else REGRESSION
    return World(
        task=task,
        threshold=0.5,
        horizon=pick.choice([2 * HOUR, 12 * HOUR, 3 * DAY, 30 * DAY]),
        early=pick.choice([0, 0, HOUR // 2]),
        since=START + pick.choice([0, 5 * HOUR]),
        zone=zone,
        slice_by=tuple(pick.sample([(), ("a",), ("b",), ("a", "b")], pick.randint(1, 3))),
        grains=tuple(pick.sample([*GRAINS, *SLIDING], pick.randint(1, 5))),
        slis=tuple(pick.sample(names, pick.randint(1, 3))),
        predictions_keep=pick.choice(["first", "first", "latest"]),
        feedback_keep=pick.choice(["latest", "latest", "first"]),
        feedback_nulls=pick.choice(["withdraw", "withdraw", "ignore"]),
        top=pick.choice([None, None, 1, 2]),
        min_support=pick.choice([0, 0, 2]),
        reference=(START + DAY, START + 2 * DAY),
    )


def moment(pick: random.Random) -> int:
    # Few distinct times, so that ties and windows shared by several rows are common.
    return (
        START
        + pick.choice([-DAY, 0, DAY, 2 * DAY, 3 * DAY])
        + pick.choice([0, 1, 90 * 60, 5 * 3600, 20 * 3600]) * 1_000_000
    )


def prediction(pick: random.Random, ids: int, _: str) -> Prediction:
    value = pick.choice([0.0, 0.25, 0.5, 0.5, 0.75, 1.0, pick.random(), None])
    if pick.random() < 0.05:
        value = pick.choice([math.nan, math.inf, 1.5])
    slices = {"a": pick.choice(["x", "y", None]), "b": pick.choice(["1", 'q"uo,te', ""])}
    key = None if pick.random() < 0.02 else f"id-{pick.randrange(ids)}"
    time = None if pick.random() < 0.02 else moment(pick)
    return Prediction(key, time, value, slices)


def feedback(pick: random.Random, ids: int, task: str) -> Feedback:
    value = pick.choice([0.0, 1.0, 1.0, None] if task == "binary" else [0.0, 1.0, 2.5, pick.random() * 10, None])
    if pick.random() < 0.05:
        value = pick.choice([math.nan, 0.5])
    key = None if pick.random() < 0.02 else f"id-{pick.randrange(ids + 3)}"
    return Feedback(key, None if pick.random() < 0.02 else moment(pick) + pick.choice([0, HOUR, DAY]), value)


def change_files(pick: random.Random, scenario: Scenario, ids: int, growing: bool) -> str:
    log = pick.choice(["predictions", "feedback"])
    held: dict[str, list[Any]] = getattr(scenario, log)
    make = prediction if log == "predictions" else feedback
    write = scenario.log_predictions if log == "predictions" else scenario.log_feedback
    what = "new" if growing else pick.choice(["new", "new", "rewritten", "removed"])
    if what == "removed" and len(held) > 1:
        name = pick.choice(sorted(held))
        scenario.remove(log, name)
    else:
        name = (
            pick.choice(sorted(held))
            if what == "rewritten" and held
            else f"{len(held)}-{pick.randrange(10**6)}.parquet"
        )
        write(name, [make(pick, ids, scenario.world.task) for _ in range(pick.randint(1, 12))])
    return f"{what} {log} {name}"


def play(seed: int, root: Path, note: Callable[[str], None] = lambda _: None, growing: bool = False) -> None:
    """A history of a seed; with `growing` logs that only gain files, as those of most services do."""
    pick = random.Random(seed)
    ids = pick.choice([4, 12, 40])
    scenario = Scenario(root, world(pick))
    if not growing and pick.random() < 0.3:
        scenario.settings = {"memory": "1KB"}
    valid = Prediction("id-0", START + 6 * HOUR, 0.5, {"a": "x", "b": "1"})
    scenario.log_predictions("first.parquet", [valid, *(prediction(pick, ids, scenario.world.task) for _ in range(8))])
    scenario.log_feedback("first.parquet", [feedback(pick, ids, scenario.world.task) for _ in range(8)])
    as_of = START + DAY
    note(f"{scenario.world}")
    for _ in range(pick.randint(2, 4)):
        as_of += pick.choice([0, HOUR, DAY, DAY, 5 * DAY])
        for _ in range(0 if growing else pick.choice([0, 0, 1, 2])):
            note(limited(pick, scenario, as_of))
        outcome = scenario.run(as_of)
        note(f"run as of {as_of}: {[c.what for c in outcome.plan.causes]} held {outcome.plan.held}")
        for _ in range(5):
            # A backfill may take a prediction away from another final tile, which then is held in its turn.
            for held in outcome.plan.held:
                outcome = scenario.backfill(as_of, _text(held.start), _text(held.end))
        # Slices and states new to the config wait while hours are held.
        scenario.run(as_of)
        scenario.check(as_of)
        again = scenario.run(as_of)
        assert not again.published
        for _ in range(pick.randint(0, 3)):
            note(change_files(pick, scenario, ids, growing))
        if not growing and pick.random() < 0.3:
            scenario.world = another_config(pick, scenario.world)
            note(f"{scenario.world.slis} {scenario.world.slice_by} {scenario.world.grains}")


def another_config(pick: random.Random, old: World) -> World:
    """An SLI more or less, or other slices, or other grains."""
    names = BINARY if old.task == "binary" else REGRESSION
    columns = {column for by in old.slice_by for column in by}
    what = pick.choice(["more", "more", "less", "slices", "grains"])
    if what == "less" and len(old.slis) > 1:
        return replace(old, slis=old.slis[1:])
    if what == "slices":
        # All columns stay in use, since the files hold no others.
        sets = [each for each in [(), ("a",), ("b",), ("a", "b")] if columns.issuperset(each)]
        return replace(old, slice_by=tuple(dict.fromkeys([*pick.sample(sets, 1), tuple(sorted(columns))])))
    if what == "grains":
        return replace(old, grains=tuple(pick.sample([*GRAINS, *SLIDING], pick.randint(1, 5))))
    return replace(old, slis=tuple(dict.fromkeys([*old.slis, pick.choice(names)])))


def limited(pick: random.Random, scenario: Scenario, as_of: int) -> str:
    """A run that does only a part of what is to do."""
    if pick.random() < 0.5:
        look_back = pick.choice(["0h", "6h", "1d", "2d"])
        scenario.run(as_of, look_back=look_back)
        return f"run as of {as_of} looking back {look_back}"
    first = scenario.world.since + pick.randrange(3) * 7 * HOUR
    interval = (_text(first), _text(first + pick.choice([HOUR, 10 * HOUR, 3 * DAY])))
    published = Store(scenario.config.store).published()
    names = [each.name for each in scenario.config.declared]
    slis = pick.sample(names, 1) if published is not None and pick.random() < 0.5 else []
    sli.backfill(scenario.config, start=interval[0], end=interval[1], sli=slis, chunk="1d", as_of=_text(as_of))
    return f"backfill of {interval} {slis} as of {as_of}"


def _text(micros: int) -> str:
    from scenario import text

    return text(micros)


# Each example takes seconds: three in `make test`, 66 in `make fuzz`.
@settings(max_examples=settings.default.max_examples // 30, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), growing=st.booleans())
def test_after_any_history_the_tables_equal_a_full_recomputation(seed: int, growing: bool) -> None:
    root = Path(tempfile.mkdtemp(prefix="sli-history-"))
    try:
        play(seed, root, note, growing)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.parametrize("seed", [73, 59567])
def test_further_histories(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path)
