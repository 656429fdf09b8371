"""Logs may lie at any fsspec URL."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from builders import small_world
from faulty import On, after, faulty
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, published, text

import sli
from sli.config.checks import UNREACHABLE
from sli.config.load import checked
from sli.errors import ConfigError, EngineError, InputError

MONDAY = at("2024-01-01T00:00")
WORLD = small_world(since=MONDAY, grains=("hour", "cumulative"), slis=("accuracy", "roc_auc"))


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


def test_a_local_url_is_read_like_the_folder_it_names(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path, WORLD)
    scenario.log_predictions("a.parquet", [Prediction(f"id-{i}", MONDAY + i * HOUR, i / 9, {}) for i in range(10)])
    scenario.log_feedback("a.parquet", [Feedback(f"id-{i}", MONDAY + i * HOUR + 1, 1.0) for i in range(9)])
    tree = config_of(WORLD, tmp_path)
    for log in ("predictions", "feedback"):
        tree[log]["path"] = f"file://{tmp_path}/{log}"
    there = checked(tree | {"store": str(tmp_path / "there")})
    scenario.run(MONDAY + 2 * DAY)
    sli.run(there, as_of=text(MONDAY + 2 * DAY))
    assert published(there) == published(scenario.config)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("gcs://bucket/logs", "the package that reads gcs:// is missing[\\s\\S]*gcsfs"),
        ("nope://bucket/logs", "no file system is known for this URL"),
        ("s4://bucket/logs", "did you mean 's3'"),
        ("simplecache::s3://bucket/logs", "chained URLs are not supported"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_before_any_work(tmp_path: Path, url: str, what: str) -> None:
    tree = config_of(WORLD, tmp_path)
    tree["predictions"]["path"] = url
    with pytest.raises(ConfigError, match=what):
        sli.run(checked(tree))


def test_storage_that_tells_no_time_of_its_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = config_of(WORLD, tmp_path)
    tree["predictions"]["path"] = f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").pipe_file(f"/{tmp_path.name}/a.parquet", b"x")
    monkeypatch.setattr("sli.logs.listing.STAMPS", ("ETag",))
    with pytest.raises(InputError, match="and its time or ETag"):
        sli.run(checked(tree))


def test_memory_of_this_process_is_not_for_workers_and_a_store_lies_in_a_folder_or_on_s3(tmp_path: Path) -> None:
    tree = config_of(WORLD, tmp_path)
    with pytest.raises(ConfigError, match=r"a folder, or an s3:// URL"):
        checked(tree | {"store": "gcs://bucket/store"})
    tree["feedback"]["path"] = "memory://logs"
    with pytest.raises(ConfigError, match="cannot read the memory of this process") as caught:
        checked(tree | {"dask": {"workers": 2}})
    assert caught.value.where == "config, feedback.path"


@pytest.mark.parametrize("sign", UNREACHABLE)
def test_a_store_where_the_table_library_fails_is_refused(tmp_path: Path, sign: str) -> None:
    with pytest.raises(ConfigError, match=r"a path without any of # % ") as caught:
        checked(config_of(WORLD, tmp_path) | {"store": f"s3://bucket/a{sign}20b"})
    assert caught.value.found == f"{sign} in s3://bucket/a{sign}20b"


@pytest.mark.parametrize("name", ["a b", "é", "a*{b}", "a:b~", "<a>&'b'", '"a"+`b`', "$(a);b,c=d@e!"])
def test_a_store_and_logs_lie_in_folders_of_any_other_name(tmp_path: Path, name: str) -> None:
    scenario = Scenario(tmp_path / name, WORLD)
    scenario.log_predictions("0.parquet", [Prediction("a", MONDAY, 0.7, {})])
    scenario.log_feedback("0.parquet", [Feedback("a", MONDAY + HOUR, 1.0)])
    scenario.run(MONDAY + 2 * HOUR)
    scenario.check(MONDAY + 2 * HOUR)


@pytest.mark.parametrize("name", ["part[1]", "part?", "part*", "*"])
def test_a_file_whose_name_is_a_pattern_of_another_is_read_alone(tmp_path: Path, name: str) -> None:
    scenario = Scenario(tmp_path, WORLD)
    for i, each in enumerate((name, "part1")):
        scenario.log_predictions(f"{each}.parquet", [Prediction(f"id-{i}", MONDAY, 0.7, {})])
        scenario.log_feedback(f"{each}.parquet", [Feedback(f"id-{i}", MONDAY + HOUR, float(i))])
    scenario.run(MONDAY + 2 * HOUR)
    scenario.check(MONDAY + 2 * HOUR)


def test_a_file_replaced_while_it_is_read_is_an_error_where_requests_cannot_name_a_version(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path, WORLD)
    rows = [Prediction(f"id-{i}", MONDAY + i * HOUR, i / 9, {}) for i in range(10)]
    scenario.log_predictions("a.parquet", rows)
    scenario.log_feedback("a.parquet", [Feedback(each.id, (each.time or 0) + 1, 1.0) for each in rows])
    memory, place = fsspec.filesystem("memory"), f"/{tmp_path.name}/a.parquet"
    memory.pipe_file(place, (tmp_path / "predictions" / "a.parquet").read_bytes())
    tree = config_of(WORLD, tmp_path)
    tree["predictions"]["path"] = f"memory://{tmp_path.name}"

    def replace() -> None:
        memory.pipe_file(place, memory.cat_file(place))

    with (
        faulty(On("get a.parquet", after(replace), 0)),
        pytest.raises(EngineError, match="replaced while it was read") as caught,
    ):
        sli.run(checked(tree), as_of=text(MONDAY + 2 * DAY))
    assert caught.value.passes
    assert sli.run(checked(tree), as_of=text(MONDAY + 2 * DAY)).published
