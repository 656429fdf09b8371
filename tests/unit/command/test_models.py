"""Several configs: one after another, one failing without the others, a table at the end, and one exit code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import config_tree
from desk import Desk, Said

from sli.command import answers, models
from sli.config.model import Config
from sli.errors import StoreError
from sli.matching import execute as engine

AS_OF = ("--as-of", "2024-02-01")
FEW = [{"sli": "accuracy", "objective": "<= 0.1"}, {"sli": "recall", "objective": ">= 0.1"}]


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Two good models and a broken one in a folder, on the same logs."""
    made = Desk(tmp_path, capsys)
    made.predictions()
    made.feedback()
    keys = config_tree("..", grains=["hour", "day"])
    add(made, "base", {name: key for name, key in keys.items() if name not in ("model", "store")})
    add(made, "a", {"extends": "base.yaml", "model": "a", "store": "../stores/a", "slis": FEW})
    add(made, "b", {"extends": "base.yaml", "model": "b", "store": "../stores/b"})
    add(made, "wrong", {"extends": "base.yaml", "model": "w", "store": "../stores/w", "level": 2})
    return made


def add(desk: Desk, name: str, tree: dict[str, Any]) -> None:
    (desk.root / "configs").mkdir(exist_ok=True)
    (desk.root / f"configs/{name}.yaml").write_text(yaml.safe_dump(tree))


def called(desk: Desk, command: str, *arguments: str) -> Said:
    return desk.call(command, str(desk.root / "configs"), *arguments)


def table_of(said: Said) -> list[list[str]]:
    """The cells of the last table, its head first, and the line below it."""
    *_, block = said.out.rstrip("\n").split("\n\n")
    return [re.split(r" {2,}", line) for line in block.splitlines()]


def test_the_good_ones_run_and_the_broken_one_is_named(desk: Desk) -> None:
    said = called(desk, "run", *AS_OF)
    assert said.code == 2
    assert said.has("# a: ", "configs/a.yaml\npublished ", "# b: ", "\n  ")
    wrong = str(desk.root / "configs/wrong.yaml")
    assert said.err.startswith(f"sli: {wrong}: the number is out of range\n  where: {wrong} (extends ")
    head, *rows, last = table_of(said)
    assert head == ["model", "hours", "results", "objectives", "coverage", "outcome"]
    assert rows == [
        ["a", "1", "4", "1 met, breached: accuracy", "100.0% since 2024-01-15", "published"],
        ["b", "1", "2", "100.0% since 2024-01-15", "published"],
        [wrong, "config error: the number is out of range"],
    ]
    assert last == ["3 models, 1 with a config error"]
    assert "base.yaml" not in said.out
    again = called(desk, "run", *AS_OF)
    assert [row[-1] for row in table_of(again)[1:3]] == ["nothing to do"] * 2


def test_json_is_one_list_with_what_each_config_alone_would_print(desk: Desk) -> None:
    a = str(desk.root / "configs/a.yaml")
    said = called(desk, "plan", *AS_OF, "--json")
    assert (said.code, said.err) == (2, "")
    first, second, wrong = json.loads(said.out)
    assert (first["config"], first["model"], first["exit_code"]) == (a, "a", 0)
    alone = json.loads(desk.call("plan", a, *AS_OF, "--json").out)
    del alone["run_id"], first["result"]["run_id"]
    assert first["result"] == alone
    assert second["result"]["tiles"] == 1
    assert (wrong["model"], wrong["error"]["what"]) == (None, "the number is out of range")


def test_every_command_of_several_ends_with_a_table(desk: Desk) -> None:
    (desk.root / "configs/wrong.yaml").unlink()
    called(desk, "run", *AS_OF)
    for command, head in (
        ("plan", ["model", "hours", "reading", "results at most", "outcome"]),
        ("show", ["model", "objectives", "coverage"]),
        ("verify", ["model", "windows", "results", "outcome"]),
    ):
        said = called(desk, command)
        assert (said.code, said.err) == (0, "")
        assert table_of(said)[0] == head
        assert [row[0] for row in table_of(said)[1:]] == ["a", "b", "2 models"]
    one = desk.call("backfill", str(desk.root / "configs"), "--start", "2024-01-15", "--end", "2024-01-16")
    assert one.code == 2
    assert one.has("the config cannot be read: Is a directory", "name one of the configs in it")


def test_one_config_prints_what_it_did_before(desk: Desk) -> None:
    a = str(desk.root / "configs/a.yaml")
    said = desk.call("run", a, *AS_OF)
    assert said.code == 0
    assert [re.sub(r"20240201T\S+ in \S+ s", "RUN", line) for line in said.out.splitlines()] == [
        "published RUN: 1 of 1 hours recomputed, 4 results changed",
        "  4 first run",
    ]
    broken = desk.call("run", str(desk.root / "configs/wrong.yaml"))
    assert (broken.code, broken.out) == (2, "")
    assert broken.err.startswith("sli: the number is out of range\n")


def raising(error: BaseException) -> Callable[..., Any]:
    real = answers.plan_answer

    def answer(options: Any, config: Config) -> Any:
        if config.model == "a":
            raise error
        return real(options, config)

    return answer


@pytest.mark.parametrize(
    ("error", "code", "parts"),
    [
        (StoreError("the disk is away"), 4, ["sli: a: the disk is away", "failed: the disk is away", "1 failed"]),
        (KeyError("bug"), 4, ["KeyError: 'bug'", "failed: KeyError: 'bug'", "1 failed, 1 with a config error"]),
    ],
)
def test_one_that_fails_does_not_stop_the_others_and_the_worst_exit_code_counts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, parts: list[str]
) -> None:
    monkeypatch.setattr(answers, "plan_answer", raising(error))
    said = called(desk, "plan", *AS_OF)
    assert said.code == code
    assert [part for part in [*parts, "  to run"] if part not in said.out + said.err] == []


def test_an_interrupt_ends_all_of_them(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "run_answer", raising(KeyboardInterrupt()))
    said = called(desk, "run", *AS_OF)
    assert said.code == 130
    assert "# b" not in said.out
    assert "models already published stay" in said.err


def test_warnings_say_whose_they_are_and_are_the_least_bad(desk: Desk) -> None:
    (desk.root / "configs/wrong.yaml").unlink()
    desk.predictions("more.parquet", prefix="q", score=[0.5] * 5 + [float("nan")])
    said = called(desk, "run", *AS_OF)
    assert said.code == 3
    assert said.has("sli: a: set aside: predictions", "sli: b: set aside: ", "2 models, 2 with warnings")
    assert table_of(said)[1][-1] == "published, 1 warning"
    assert list(models.WORST_FIRST) == [4, 2, 5, 3, 0]


def test_configs_with_equal_dask_settings_run_together_on_one_cluster(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = []
    real = answers.plan_answer

    def answer(options: Any, config: Config) -> Any:
        shared.append((config.model, engine._SHARED.get()))
        return real(options, config)

    monkeypatch.setattr(answers, "plan_answer", answer)
    for name, workers in (("a", 2), ("c", 2)):
        tree = {"extends": "base.yaml", "model": name, "store": f"../stores/{name}", "dask": {"workers": workers}}
        add(desk, name, tree)
    called(desk, "plan", *AS_OF)
    assert [name for name, _ in shared] == ["a", "c", "b"]
    assert len({id(client) for _, client in shared}) == 1
    assert shared[0][1] is not None


def test_modules_of_the_same_name_beside_two_configs_are_not_mixed_up(desk: Desk) -> None:
    for name, value in (("a", 0.25), ("b", 0.75)):
        folder = desk.root / name
        folder.mkdir()
        (folder / "mine.py").write_text(f"def f(y_true, y_pred):\n    return {value}\n")
        slis = [{"name": "f", "python": "mine:f"}]
        (folder / "c.yaml").write_text(
            yaml.safe_dump(config_tree("..", model=name, store=f"../stores/{name}", slis=slis))
        )
    paths = [str(desk.root / f"{name}/c.yaml") for name in ("a", "b")]
    assert desk.call("run", *paths, *AS_OF).code == 0
    rows = json.loads(desk.call("show", *paths, "--json", "--grain", "hour").out)
    assert [row["value"] for each in rows for row in each["result"]] == [0.25, 0.75]
