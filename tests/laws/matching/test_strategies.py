"""Two ways to join are one: the shuffle and the co-located strategy give the same tables, to the bit."""

from __future__ import annotations

import contextlib
import decimal
import itertools
import math
import os
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import config_tree, small_world
from oracle import Feedback, Prediction, World
from scenario import DAY, HOUR, Scenario, at
from servers import two_workers

import sli
from sli.calendar.interval import Interval
from sli.command.text import plan_lines
from sli.config.load import checked
from sli.config.model import Config
from sli.logs.files import Files, Inputs, LogFile
from sli.matching import cluster
from sli.planning import planner
from sli.planning import tasks as chunks
from sli.planning.planner import plan
from sli.planning.request import Request
from sli.planning.tasks import task_sets
from sli.publishing.store import Store
from sli.reading.read import standing_audit
from sli.tiles import shuffle

LARGE = 20_000
"""A factor by which rows seem so large that few of them make several partitions of ids and stretches of time."""
MONDAY = at("2024-01-15T00:00")


@pytest.fixture
def shuffling(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Whether all that follows is shuffled."""

    def choose(shuffles: bool) -> None:
        for name, value in (("SMALL", -1), ("SHUFFLED", 0), ("KERNEL", 1)) if shuffles else (("SMALL", 1 << 60),):
            monkeypatch.setattr(chunks, name, value)

    return choose


def tables(config: Config) -> dict[str, Any]:
    """Every row of the tables, but for what names the run."""
    store = Store(config.store)
    stored = {name: store.tables.open(name).rows() for name in ("tiles", "days")}
    found = {
        name: sorted(repr({column: row[column] for column in sorted(row)}) for row in table.to_pylist())
        for name, table in stored.items()
    }
    drop = ["run_id"]
    found["results"] = sorted(map(repr, sli.read(config).drop(columns=drop).to_dict("records")))
    found["audit"] = standing_audit(config).drop(columns=drop).map(repr).to_dict("records")
    return found


def assert_same(a: Config, b: Config) -> None:
    one, other = tables(a), tables(b)
    for name in one:
        assert len(one[name]) == len(other[name]), name
        for row, twin in zip(one[name], other[name], strict=True):
            assert row == twin, name


def twins(root: Path, world: World, memory: str) -> list[Scenario]:
    """The same logs, published twice."""
    return [Scenario(root, world, {"memory": memory, "store": f"{root}/{name}"}) for name in ("apart", "sent")]


def run_both(pair: list[Scenario], shuffling: Callable[[bool], None], as_of: int) -> Any:
    """Run one by each strategy; the plan of the shuffle."""
    pair[1].predictions, pair[1].feedback = pair[0].predictions, pair[0].feedback
    plans = []
    for scenario, shuffles in zip(pair, (False, True), strict=True):
        shuffling(shuffles)
        plans.append(scenario.run(as_of).plan)
    assert {job.strategy for job in plans[0].task_sets} == {"co-located"}
    assert {job.strategy for job in plans[1].task_sets} == {"shuffle"}
    return plans[1]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with two_workers() as address:
        yield address


BINARY = World(
    task="binary",
    horizon=12 * HOUR,
    early=HOUR // 2,
    duplicates_within=13 * HOUR,
    since=MONDAY,
    zone="America/New_York",
    slice_by=((), ("a",), ("a", "b")),
    grains=("hour", "day", "cumulative"),
    slis=("log_loss", "roc_auc", "feedback_delay_90"),
    feedback_nulls="ignore",
)
REGRESSION = replace(BINARY, task="regression", slis=("mae", "quantile_25"), predictions_keep="latest", top=1)


def some_rows(pick: random.Random) -> tuple[list[Prediction], list[Feedback]]:
    """Few ids and times, so that many rows are ties, duplicates, late or unmatched; a few are invalid."""

    def moment() -> int | None:
        return pick.choice([None, *([MONDAY + pick.randrange(-1, 4) * DAY + pick.choice([0, 1, 5, 20]) * HOUR] * 40)])

    def key() -> str | None:
        return pick.choice([None, *([f"id-{pick.randrange(33)}"] * 40)])

    predictions = [
        Prediction(key(), moment(), pick.choice([0.0, 0.25, 0.5, pick.random(), math.nan, None]), slices)
        for slices in pick.choices([{"a": a, "b": b} for a in ("x", "y", None) for b in ("1", 'q"uo,te', "")], k=40)
    ]
    return predictions, [Feedback(key(), moment(), pick.choice([0.0, 1.0, 1.0, None, math.nan])) for _ in range(40)]


@pytest.mark.parametrize(("world", "elsewhere"), [(BINARY, False), (REGRESSION, True)])
def test_random_rows_come_out_alike_and_as_the_oracle_says(
    tmp_path: Path,
    shuffling: Callable[[bool], None],
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
    world: World,
    elsewhere: bool,
) -> None:
    for module in (chunks, planner):
        monkeypatch.setattr(module, "FACTOR", LARGE)
    pick = random.Random(0)
    pair = twins(tmp_path, world, "64MB")
    if elsewhere:
        pair[1].settings = {**pair[1].settings, "dask": {"scheduler": scheduler}}
    for step in range(2):
        for number in range(2):
            predictions, feedback = some_rows(pick)
            pair[0].log_predictions(f"{step}-{number}.parquet", predictions)
            pair[0].log_feedback(f"{step}-{number}.parquet", feedback)
        as_of = MONDAY + (step + 2) * DAY
        job = run_both(pair, shuffling, as_of).task_sets[0]
        assert job.shuffle.partitions > 2
        assert job.shuffle.edges
        assert_same(pair[0].config, pair[1].config)
        if step == 0:  # what comes later for hours that are final is held
            pair[1].check(as_of)


@pytest.mark.soak
def test_ids_match_across_any_distance(
    tmp_path: Path, shuffling: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feedback comes up to eleven months later, in files of its own; the same id is logged again months later."""
    world = small_world(
        horizon=330 * DAY,
        zone="Europe/Berlin",
        slice_by=((), ("site",)),
        grains=("month",),
        slis=("accuracy", "log_loss", "quantile_50"),
    )
    pick, pair = random.Random(5), twins(tmp_path, world, "64KB")
    made: dict[int, tuple[list[Prediction], list[Feedback]]] = {month: ([], []) for month in range(24)}
    for i in range(600):
        time = MONDAY + pick.randrange(360) * DAY + pick.randrange(24) * HOUR
        known = time + pick.randrange(345) * DAY
        for again in range(1 + (i % 9 == 0)):
            moment = time + again * pick.randrange(200) * DAY
            row = Prediction(f"id-{i}", moment, pick.random(), {"site": pick.choice(["a", "b", None])})
            made[(moment - MONDAY) // (30 * DAY)][0].append(row)
        made[(known - MONDAY) // (30 * DAY)][1].append(Feedback(f"id-{i}", known, float(pick.random() < 0.4)))
    for month, (predictions, feedback) in made.items():
        pair[0].log_predictions(f"{month:02}.parquet", predictions)
        pair[0].log_feedback(f"{month:02}.parquet", feedback)
    chosen = run_both(pair, shuffling, MONDAY + 400 * DAY)
    assert chosen.task_sets[0].shuffle.partitions > 2
    assert_same(pair[0].config, pair[1].config)
    pair[1].check(MONDAY + 400 * DAY)
    # Hours computed anew alone: predictions that won elsewhere still win; in rounds, too.
    monkeypatch.setattr(chunks, "MOST", 2)
    for scenario, shuffles in zip(pair, (False, True), strict=True):
        shuffling(shuffles)
        outcome = scenario.backfill(MONDAY + 800 * DAY, "2024-07-01", "2024-07-20")
        (job,) = outcome.plan.task_sets
        assert job.strategy == ("shuffle" if shuffles else "co-located")
    assert job.shuffle.rounds > 1
    assert_same(pair[0].config, pair[1].config)


OWN = """
import numpy as np

def spread(y_true, y_pred, weight):
    return float(np.average(np.abs(y_true - y_pred), weights=weight))
"""


def mixed(folder: Path) -> dict[str, Any]:
    """Logs of 5,000 predictions in two days with columns of all kinds, bad rows, and a config of SLIs of all kinds."""
    size, at_random = 5_000, np.random.default_rng(3)
    time = MONDAY + at_random.integers(0, 2 * DAY, size)
    time[:3000] = MONDAY + 5 * HOUR + at_random.integers(0, HOUR, 3000)  # more than a sample holds
    hidden = at_random.random(size) < 0.1

    def column(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=hidden)

    score = np.round(at_random.random(size), 3)
    score[:6] = [np.nan, np.inf, 1.5, -1, 0, 1]
    table = pa.table(
        {
            "id": pa.array([None if i % 500 == 7 else f"é{i % 4900}" for i in range(size)], pa.string()),
            "at": pa.array(time, pa.int64()).cast(pa.timestamp("us", "UTC")),
            "score": pa.array(score, pa.float64(), mask=at_random.random(size) < 0.02),
            "price": column([decimal.Decimal(int(i)) / 4 for i in at_random.integers(0, 8, size)], pa.decimal128(9, 2)),
            "flag": column(at_random.random(size) < 0.5, pa.bool_()),
            "small": column(at_random.integers(-2, 2, size), pa.int8()),
            "level": column(at_random.choice([0.0, -0.0, np.nan, np.inf, 0.1], size), pa.float32()),
            "since": column(time // (12 * HOUR) * 12 * HOUR, pa.timestamp("us")),
            "born": column(at_random.integers(0, 3, size), pa.int32()).cast(pa.date32()),
            "key": pa.array([uuid.UUID(int=int(i)).bytes for i in at_random.integers(0, 3, size)], pa.uuid()),
            "kind": column(at_random.choice(["a", "b", ""], size).tolist(), pa.string()),
            "weight": pa.array(at_random.gamma(2, 1, size)),
        }
    )
    known = pa.table(
        {
            "id": pa.array([None if i % 700 == 3 else f"é{i}" for i in range(5100)], pa.string()),
            "at": pa.array(MONDAY + at_random.integers(0, 3 * DAY, 5100), pa.int64()).cast(pa.timestamp("us", "UTC")),
            "label": pa.array(
                [[0.0, 1.0, None, 7.0][int(i)] for i in at_random.choice(4, 5100, p=[0.6, 0.3, 0.09, 0.01])]
            ),
        }
    )
    for log, rows, files in (("predictions", table, 3), ("feedback", known, 2)):
        (folder / log).mkdir()
        for i in range(files):
            pq.write_table(rows.take(np.arange(i, len(rows), files)), folder / log / f"{i}.parquet", row_group_size=500)
    (folder / "own_spread.py").write_text(OWN)
    return {
        "model": "mixed",
        "timezone": "America/New_York",
        "since": "2024-01-14",
        "horizon": "60d",
        "task": "binary",
        "predictions": {
            "path": f"{folder}/predictions",
            "id": "id",
            "time": "at",
            "value": "score",
            "columns": ["weight"],
        },
        "feedback": {"path": f"{folder}/feedback", "id": "id", "time": "at", "value": "label", "early": "1d"},
        "slice_by": [[], ["price", "flag"], ["small", "level", "since"], ["born", "key", "kind"]],
        "slis": [
            "accuracy",
            "roc_auc",
            "log_loss",
            {"name": "spread", "python": "own_spread:spread", "weight": "weight"},
            {"sli": "mean", "name": "mean_price", "of": "price"},
        ],
        "memory": "256MB",
        "folder": str(folder),
    }


@pytest.mark.soak
def test_columns_of_all_kinds_bad_rows_and_functions_of_whole_days_come_out_alike(
    tmp_path: Path, shuffling: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, configs = mixed(tmp_path), []
    monkeypatch.setattr(chunks, "FACTOR", 1300)
    # Columns of another type in the first file: the type that holds both is that of all.
    first = tmp_path / "predictions" / "0.parquet"
    table = pq.read_table(first)
    table = table.set_column(table.schema.get_field_index("small"), "small", table["small"].cast(pa.float64()))
    pq.write_table(table, first)
    damaged = (tmp_path / "feedback" / "1.parquet").read_bytes()
    (tmp_path / "feedback" / "2.parquet").write_bytes(damaged[:1000] + b"\xff" * 2000 + damaged[3000:])
    for shuffles in (False, True):
        config = checked(settings | {"store": str(tmp_path / f"store-{shuffles}")})
        shuffling(shuffles)
        outcome = sli.run(config, as_of="2024-03-01")
        job = outcome.plan.task_sets[0]
        assert (job.strategy == "shuffle") == shuffles
        if shuffles:
            assert min(job.task_count, len(job.shuffle.pieces)) > 2
            assert job.shuffle.edges
        assert "damaged" in set(outcome.audit.column("check").to_pylist())
        configs.append(config)
    assert_same(*configs)


def log_files(log: str, days: int, size: float, start: int = MONDAY) -> Files:
    """A file a day of so many bytes."""
    return Files.of(
        LogFile(
            log,
            f"/{log}/{day}.parquet",
            "",
            0,
            rows=1_000_000,
            ranges=((start + day * DAY, start + (day + 1) * DAY - 1),),
            row_bytes=size / 1e6,
        )
        for day in range(days)
    )


def planned(days: int, size: float, **settings: Any) -> tuple[Any, Config]:
    tree = config_tree(store="/nowhere", memory="1GB", dask={"workers": 4})
    for log, value in (("predictions", "s"), ("feedback", "l")):
        tree[log] = {"path": f"/{log[0]}", "id": "order_id", "time": "t", "value": value}
    del tree["horizon"], tree["grains"]
    config = checked(tree | settings)
    inputs = Inputs(log_files("predictions", days, size), log_files("feedback", days, size))
    return plan(config, inputs, None, Inputs.of([]), Request(MONDAY + 500 * DAY, None, now=False)), config


@pytest.mark.parametrize(
    ("days", "size", "horizon", "strategy", "why"),
    [
        (30, 1e5, "365d", "co-located", "once over it is 6.0 MB"),
        (30, 1e7, "1h", "co-located", "co-located tasks read 6"),
        (300, 1e7, "1d", "co-located", "once over it is 6.0 GB"),
        (300, 1e7, "10d", "shuffle", "once over it is 6.0 GB"),
        (300, 1e7, "90d", "shuffle", "a co-located task would take 9.1 GB of memory and has 1.1 GB"),
        (2, 1e9, "1h", "shuffle", "a co-located task would take 10.2 GB of memory and has 1.1 GB"),
    ],
)
def test_the_plan_chooses_by_estimated_bytes_and_says_why(
    days: int, size: float, horizon: str, strategy: str, why: str
) -> None:
    chosen, config = planned(days, size, horizon=horizon)
    (job,) = chosen.task_sets
    lines = plan_lines(chosen, config)
    told = next(line for line in lines if line.startswith("strategy"))
    assert (job.strategy, chosen.to_dict()["jobs"][0]["strategy"]) == (strategy, strategy)
    assert why in told
    assert ("shuffle on order_id" in told) == (strategy == "shuffle")
    assert job.to_dict()["bytes_once"] == 2 * days * size


@pytest.mark.parametrize(
    ("dask", "least", "most"),
    [({"scheduler": "tcp://elsewhere:8786"}, 500, 2_000), ({"workers": 1_000}, 500, 2_000), ({"workers": 2}, 2, 200)],
)
def test_a_day_of_a_billion_predictions_occupies_a_cluster_of_a_thousand_workers(
    dask: dict[str, Any], least: int, most: int
) -> None:
    config = checked(config_tree(Path("/nowhere"), since="2024-01-01", horizon="7d", dask=dask, memory="8GiB"))
    step, day = HOUR // 100, Interval(MONDAY, MONDAY + DAY)

    def files(log: str) -> Files:
        """A hundred files an hour, of ten million bytes each."""
        times = range(day.start - 7 * DAY, day.end, step)
        span = [((at, at + step - 1),) for at in times]
        return Files.of(
            LogFile(log, f"{log}/{number}.parquet", "", 10**7, 10**5, ranges=ranges, row_bytes=100)
            for number, ranges in enumerate(span)
        )

    inputs = Inputs(files("predictions"), files("feedback"))
    (job,) = task_sets(config, inputs, [day], [], config.states, config.slice_sets)
    assert job.shuffle is not None
    assert least <= len(job.shuffle.pieces) <= most
    assert least <= job.shuffle.partitions <= most
    size = [sum(file.bytes for file in piece.files) for piece in job.shuffle.pieces]
    assert min(size[:-1]) >= chunks.LEAST // 2, "each task is worth its cost"


def test_the_blocks_of_a_shuffle_grow_with_the_logs_and_not_with_their_square() -> None:
    pieces = []
    for size in (2e8, 4e8):
        chosen, config = planned(400, size, horizon="90d")
        shuffled = chosen.task_sets[0].shuffle
        pieces.append(len(shuffled.pieces))
        assert chunks.MOST / 2 < shuffled.partitions <= chunks.MOST
        strategy = next(line for line in plan_lines(chosen, config) if "strategy" in line)
        assert f"{shuffled.partitions:,} partitions in {shuffled.rounds} rounds" in strategy
    assert pieces[1] < 2.1 * pieces[0]


def test_tasks_of_a_shuffle_read_every_row_once_and_no_more_than_their_memory() -> None:
    chosen, config = planned(300, 1e7, horizon="90d")
    (job,) = chosen.task_sets
    budget = config.task_memory / chunks.FACTOR
    assert job.shuffle.partitions >= job.estimate.read_once / budget
    for log in ("predictions", "feedback"):
        read = [(file.path, piece.span) for piece in job.shuffle.pieces if piece.log == log for file in piece.files]
        assert len(read) == len({path for path, _ in read}) == 300
    assert all(sum(f.rows * f.row_bytes for f in piece.files) <= budget for piece in job.shuffle.pieces)
    # A file that is too large by itself is read in stretches that leave nothing out.
    large, _ = planned(1, 3e9, horizon="90d")
    spans = sorted(piece.span for piece in large.task_sets[0].shuffle.pieces if piece.log == "feedback")
    assert len(spans) > 10
    assert all(a.end == b.start for a, b in itertools.pairwise(spans))
    assert spans[0].start <= MONDAY
    assert spans[-1].end >= MONDAY + DAY


@pytest.mark.soak
def test_memory_of_workers_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs three times larger than a task's memory; each worker process has two tasks' and what it needs to live."""
    size = 1_600_000
    with duckdb.connect() as con:
        for log, time, more in (
            ("predictions", "i * 5", "random()::FLOAT AS score, (i % 3)::VARCHAR AS site"),
            ("feedback", f"i * 5 + (i * 7919 % {size}) * 15", "(i % 3 = 0)::INTEGER AS label"),
        ):
            (tmp_path / log).mkdir()
            con.execute(
                "COPY (SELECT md5(i::VARCHAR) || md5((-i)::VARCHAR) AS id, "
                f"make_timestamptz({MONDAY} + 1000000 * ({time})) AS time, {more} "
                f"FROM range({size}) r(i) ORDER BY time) TO '{tmp_path}/{log}/all.parquet'"
            )
    columns = {"id": "id", "time": "time"}
    more = {"horizon": "300d", "slice_by": [[], ["site"]], "grains": ["day"], "memory": "96MB", "dask": {"workers": 2}}
    config = checked(config_tree(tmp_path, columns, columns, **more))
    told: list[dict[str, tuple[int, int]]] = []
    connected = shuffle.cluster_client

    def resident() -> tuple[int, int]:
        """A worker process, and the most memory it ever had; here, since workers do not have the tests."""
        status = Path("/proc/self/status").read_text()
        return os.getpid(), int(status.split("VmHWM:")[1].split()[0]) << 10

    @contextlib.contextmanager
    def watched(*given: Any) -> Any:
        with connected(*given) as client:
            told.append(client.run(resident))
            yield client
            told.append(client.run(resident))

    monkeypatch.setattr(shuffle, "cluster_client", watched)
    (job,) = sli.run(config, as_of="2025-06-01").plan.task_sets
    assert job.strategy == "shuffle"
    assert job.estimate.read_once > 2 * config.task_memory
    before, after = told
    assert {pid for pid, _ in before.values()} == {pid for pid, _ in after.values()}, "a worker was killed"
    assert max(peak for _, peak in after.values()) < cluster.worker_memory(config.task_memory)
    whole = sli.read(config, grain="day", slice_by=[])
    assert (whole.predictions.sum(), whole.labelled.sum()) == (size, size)
