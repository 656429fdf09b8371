"""The README's blocks run as they stand."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pandas as pd
import pytest
import tour
import yaml

from sli.command.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SCHEDULING = (ROOT / "docs/scheduling.md").read_text()
READING = (ROOT / "docs/reading.md").read_text()
SEEING = (ROOT / "docs/seeing.md").read_text()


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def told(text: str) -> list[str]:
    """Lines without what differs from run to run: seconds and ids."""
    return [
        re.sub(r"in [\d.]+ s|\([\d.]+ s\)|-[0-9a-f]{10} |(?<=backfill )[0-9a-f]{10}", "", line)
        for line in text.splitlines()
    ]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, unpacked: Path) -> Path:
    """A copy of what the README refers to, after the demo; the demo is run from the wheel: it needs no repository."""
    root = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "configs", root / "configs")
    found = subprocess.run(
        [sys.executable, "-W", "error", "-m", "sli.command.cli", "demo"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env={**os.environ, "COLUMNS": "120", "PYTHONPATH": str(unpacked)},
    )
    (root / "demo.txt").write_text(found.stdout)
    return root


def test_the_demo_prints_what_the_readme_shows(clone: Path) -> None:
    shown = told(blocks("text")[0].strip())
    printed = told((clone / "demo.txt").read_text())
    assert [line for line in shown if line not in printed] == []


def test_the_demo_writes_the_page_that_the_readme_names(clone: Path) -> None:
    page = re.findall(r"It also writes `(.*?)`", README)[0]
    assert "flights-late15" in (clone / page).read_text()


def test_the_pages_show_what_is_drawn_on_a_terminal(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone)
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("NO_COLOR", "1")
    drawn = re.findall(r"on a terminal, `sli ([^`]*)` draws:\n\n```text\n(.*?)```", READING + SEEING, flags=re.DOTALL)
    assert len(drawn) == 2
    for command, output in drawn:
        assert on_terminal(command.split()) == output.splitlines()


def on_terminal(command: list[str]) -> list[str]:
    """What a command prints on a terminal."""
    ours, its = pty.openpty()

    def printed() -> str:
        text = b""
        # The end of what is printed is an error on Linux, and nothing elsewhere.
        with suppress(OSError):
            while part := os.read(ours, 65536):
                text += part
        return text.decode()

    with ThreadPoolExecutor(1) as reader:
        text = reader.submit(printed)
        with os.fdopen(its, "w") as terminal, redirect_stdout(terminal):
            assert main(command) == 0
    os.close(ours)
    return [line.rstrip() for line in text.result().splitlines()]


def test_the_demo_says_that_the_second_run_does_nothing(clone: Path) -> None:
    assert "nothing to do: the tables are up to date with the logs" in (clone / "demo.txt").read_text()


def test_the_python_of_the_readme_runs_in_a_process_of_its_own(clone: Path) -> None:
    [block] = blocks("python")
    found = subprocess.run(
        [sys.executable, "-c", block],
        cwd=clone,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.splitlines()) >= 3


def test_the_pages_show_what_is_printed(
    clone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    shown = dict(re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", READING, flags=re.DOTALL))
    assert len(shown) == 1
    assert shown.keys() <= {*blocks("python", READING)}
    for block in blocks("python", READING):
        if "pyspark" in block:  # has a test of its own
            continue
        exec(block, {})
        printed = capsys.readouterr().out
        assert len(printed.splitlines()) >= 3
        assert printed == shown.get(block, printed)
    shown = re.findall(r"```text\n\$ sli ([^\n]*)\n(.*?)```", READING + SEEING, flags=re.DOTALL)
    assert len(shown) == 7
    for command, output in shown:
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out == output


def test_the_line_for_spark_runs(clone: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, for example: sudo apt-get install default-jre-headless")
    [block] = [block for block in blocks("python", READING) if "pyspark" in block]
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=clone,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"},
    )
    assert found.returncode == 0, found.stderr
    assert "|2013-12-01 05:00:00|{}" in found.stdout
    assert "only showing top 4 rows" in found.stdout


def test_the_files_that_the_page_writes_have_rows(clone: Path) -> None:
    lines = [line for block in blocks("console", READING) for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        command, _, file = line.removeprefix("$ sli ").partition(" > ")
        with (clone / file).open("wb") as out:
            words = [sys.executable, "-m", "sli.command.cli", *shlex.split(command)]
            subprocess.run(words, cwd=clone, stdout=out, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert len(pd.read_parquet(clone / "recall.parquet")) == 334 * 4
    origins = pd.read_csv(clone / "origins.csv", parse_dates=["window_start"])
    assert origins["slice"].map(json.loads).map(lambda slice: slice["origin"]).nunique() == 3
    assert str(origins.window_start.dtype).endswith("UTC]")
    assert len(json.loads((clone / "weeks.json").read_text())) == 47


def test_the_notebook_shows_what_comes_when_it_runs(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that sli works in a notebook at all, where DuckDB lacks what it draws bars with."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored = tour.notebook()
    assert tour.outputs(tour.executed(clone)) == tour.outputs(stored)
    assert sum("picture" in str(shown) for shown in tour.outputs(stored)) == 2


@pytest.fixture
def week(clone: Path, tmp_path: Path) -> Path:
    """A folder with a week of the demo's logs, which no command has seen."""
    for log in ("predictions", "feedback"):
        for day in sorted((clone / "demo-flights" / log).iterdir())[-7:]:
            shutil.copytree(day, tmp_path / "logs" / log / day.name)
    return tmp_path


def test_the_shell_session_runs(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(week)
    commands = [line[2:].split("#")[0].split() for block in blocks("console") for line in block.splitlines()]
    for command in commands:
        if command[0] == "sli":
            assert main(command[1:]) == 0, command


def test_the_example_slis_are_a_config_that_runs(week: Path) -> None:
    config = yaml.safe_load((ROOT / "configs/flights.yaml").read_text())
    config["slis"] = yaml.safe_load(blocks("yaml")[0])["slis"]
    for log in ("predictions", "feedback"):
        config[log]["path"] = str(week / "logs" / log)
    config["store"], config["grains"], config["since"] = str(week / "results"), ["day"], "2013-12-25"
    (week / "sli.yaml").write_text(yaml.safe_dump(config))
    assert main(["run", str(week / "sli.yaml"), "--as-of", "2014-01-02"]) == 0


def test_the_backfills_of_the_scheduling_page_print_what_it_shows(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (clone / "configs/flights.yaml").read_text()
    (clone / "configs/sli.yaml").write_text(text.replace("  - log_loss\n", "  - log_loss\n  - brier\n"))
    shown = re.findall(r"```console\n\$ sli (backfill [^\n]*)\n```\n```text\n(.*?)```", SCHEDULING, flags=re.DOTALL)
    assert len(shown) == 2
    for command, output in shown:
        words = [
            str(clone / "configs" / Path(word).name) if word.endswith(".yaml") else word for word in command.split()
        ]
        capsys.readouterr()
        assert main(words) == 0
        assert told(capsys.readouterr().out) == told(output)
