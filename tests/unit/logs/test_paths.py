"""Which files the paths of a log name: several paths, patterns, folders with the characters of patterns, wrong ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import yaml
from builders import config_tree, small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, published, text

import sli
from sli.config.load import checked, load_config
from sli.errors import ConfigError, InputError
from sli.logs.paths import list_files

MONDAY = at("2024-01-15T00:00")
WORLD = small_world(slice_by=((), ("site",)))
NAMES = (
    "2025-12/part-0.parquet",
    "2026-01/part-0.parquet",
    "2026-01/other.parquet",
    "2026-01/_part-1.parquet",
    "2026-02/model=a/part-0.parquet",
    "2026-02/model=b/part-1.parquet",
    "2026-02/notes.csv",
    "_2026-03/part-0.parquet",
)


@pytest.fixture(params=["local", "file", "memory"])
def logs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder with the files NAMES, as a path or URL."""
    if request.param == "memory":
        root = f"memory://{tmp_path.name}"
        fs = fsspec.filesystem("memory")
        fs.pipe({f"/{tmp_path.name}/{name}": b"x" for name in NAMES})
        yield root
        fs.rm(f"/{tmp_path.name}", recursive=True)
        return
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    yield str(tmp_path) if request.param == "local" else f"file://{tmp_path}"


def named(logs: str, *paths: str) -> list[str]:
    """The files below the folder that the paths name, as numbers of NAMES."""
    found = list_files("predictions", [f"{logs}/{path}" for path in paths])
    assert len(found.sizes) == len(found.fingerprints) == len(found.modified) == len(found.paths)
    assert found.paths == sorted(found.paths)
    return [path.partition(f"{logs.rpartition('/')[2]}/")[2] for path in found.paths]


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("2026-*/part-*.parquet", [1]),
        ("2026-*", [2, 1, 4, 5]),
        ("2026-*/", [2, 1, 4, 5]),
        ("2026-??/model=a/", [4]),
        ("2026-0[12]/part-0.parquet", [1]),
        ("**/part-0.parquet", [0, 1, 4]),
        ("2026-02/**", [4, 5]),
        ("**/model=*/*.parquet", [4, 5]),
        ("2025-12/part-0.parquet", [0]),
    ],
)
def test_a_pattern_names_files_and_all_that_is_below_folders(logs: str, pattern: str, places: list[int]) -> None:
    assert named(logs, pattern) == [NAMES[place] for place in places]


def test_a_file_that_two_paths_name_is_one_file(logs: str) -> None:
    assert named(logs, "2026-01", "2026-0*/part-*", "2025-12", "2026-01/part-0.parquet") == [
        NAMES[0],
        NAMES[2],
        NAMES[1],
    ]
    assert named(logs, "") == [NAMES[place] for place in (0, 2, 1, 4, 5)]


@pytest.mark.parametrize(
    ("pattern", "nearby"),
    [
        ("2026-0*/prat-*.parquet", r"2026-01 holds only .*other\.parquet, part-0\.parquet"),
        ("2027-*/part-0.parquet", "holds only 2025-12, 2026-01, 2026-02, _2026-03"),
        ("nothing/here/*", "holds only 2025-12"),
        ("_2026-*/*", "_2026-03 holds only part-0.parquet|holds only 2025-12"),
    ],
)
def test_of_a_pattern_that_names_nothing_the_nearest_folder_is_told(logs: str, pattern: str, nearby: str) -> None:
    found = list_files("predictions", [f"{logs}/2025-12", f"{logs}/{pattern}"])
    assert len(found.paths) == 1
    ((path, what),) = found.missing.items()
    assert path == f"{logs}/{pattern}"
    assert re.search(nearby, what)


def test_what_exists_as_it_is_written_is_no_pattern(tmp_path: Path) -> None:
    for name in ("a[1]*", "a1"):
        (tmp_path / name / "b").mkdir(parents=True)
        (tmp_path / name / "b" / "x.parquet").write_bytes(b"x")
    assert named(str(tmp_path), "a[1]*") == ["a[1]*/b/x.parquet"]
    assert named(str(tmp_path), "a[1]*/*/x.*") == ["a[1]*/b/x.parquet"], "a folder too is taken as it is written"
    assert named(str(tmp_path), "a[1]/b") == ["a1/b/x.parquet"]


def test_a_pattern_looks_only_into_folders_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    scanned, scan = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(Path(path).name) or scan(path))
    assert named(str(tmp_path), "2026-01/*.parquet", "2025-*/part-0.parquet")
    assert scanned == ["2026-01", tmp_path.name, "2025-12"]


def test_a_link_to_a_folder_that_a_pattern_names_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "2026").mkdir()
    (tmp_path / "2026" / "a.parquet").write_bytes(b"x")
    (tmp_path / "latest").symlink_to(tmp_path / "2026")
    assert named(str(tmp_path), "*") == ["2026/a.parquet"]


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    made = Scenario(tmp_path, WORLD)
    for day in range(2):
        rows = [Prediction(f"{day}-{h}", MONDAY + day * DAY + h * HOUR, h / 9, {"site": "ab"[h % 2]}) for h in range(9)]
        made.log_predictions(f"{day}.parquet", rows)
        made.log_feedback(f"{day}.parquet", [Feedback(row.id, (row.time or 0) + HOUR, 1.0) for row in rows])
    return made


def with_paths(scenario: Scenario, store: str, predictions: object, feedback: object = "feedback") -> Path:
    """A config file beside the logs, with other paths and a store of its own."""
    tree = config_of(WORLD, scenario.root) | {"store": store}
    tree["predictions"]["path"], tree["feedback"]["path"] = predictions, feedback
    path = scenario.root / f"{store}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_log_at_several_paths_is_one_log(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAY", "predictions/0.par*")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/paths-test/1.parquet", (scenario.root / "predictions" / "1.parquet").read_bytes())
    paths = ["${DAY}", "memory://paths-test/*"]
    config = load_config(with_paths(scenario, "several", paths, ["feedback/[01].parquet"]))
    assert config.predictions.path == (f"{scenario.root}/predictions/0.par*", "memory://paths-test/*")
    scenario.run(MONDAY + 3 * DAY)
    sli.run(config, as_of=text(MONDAY + 3 * DAY))
    assert published(config) == published(scenario.config)
    assert sli.verify(config, windows=None).equal


@pytest.mark.parametrize(
    ("paths", "what", "where", "found"),
    [
        (["predictions", "prediction"], "the path of the predictions log does not exist", "[1]", "/prediction"),
        ("predictions/*.pq", "nothing matches the path of the predictions log", "", "holds only 0.parquet, 1.parquet"),
    ],
)
def test_a_path_that_leads_to_nothing_is_a_wrong_config_unless_there_was_a_log(
    scenario: Scenario, paths: object, what: str, where: str, found: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        sli.plan(with_paths(scenario, "store", paths))
    assert caught.value.where == f"predictions.path{where}"
    assert found in caught.value.found
    sli.run(with_paths(scenario, "store", "predictions"), as_of=text(MONDAY + 3 * DAY))
    with pytest.raises(InputError, match=what):
        sli.plan(with_paths(scenario, "store", paths), as_of=text(MONDAY + 3 * DAY))


def test_a_path_of_several_that_holds_no_parquet_is_not_left_out_in_silence(scenario: Scenario) -> None:
    (scenario.root / "more.csv").write_text("output_id\n1\n")
    with pytest.raises(InputError, match=r"a path of the predictions log holds no Parquet file[\s\S]*read_csv"):
        sli.plan(with_paths(scenario, "store", ["predictions", "more.csv"]))


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ([], "a path or URL, or a list of these"),
        (3, "a path or URL, or a list of these"),
        ([["a"]], "predictions.path"),
        (["a", "s3://key:secret-of-mine@bucket/logs"], "credentials do not belong in a URL"),
        ("logs/a**b/*.parquet", "must stand alone between slashes"),
    ],
)
def test_a_wrong_path_is_told_without_its_secrets(path: object, what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        sli.plan(checked(config_tree(tmp_path, predictions__path=path)))
    assert what in str(caught.value)
    assert "secret-of-mine" not in str(caught.value)
