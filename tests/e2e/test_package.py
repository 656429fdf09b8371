"""The wheel: what it holds, and that it works where there is no repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from builders import config_tree

ROOT = Path(__file__).parents[2]
LOGS = {
    "predictions": pd.DataFrame(
        {"id": ["a", "b"], "time": pd.to_datetime(["2024-01-01T10:00Z"] * 2), "score": [0.9, 0.2]}
    ),
    "feedback": pd.DataFrame({"id": ["a", "b"], "time": pd.to_datetime(["2024-01-01T11:00Z"] * 2), "label": [1, 1]}),
}
COLUMNS = {"id": "id", "time": "time"}
CONFIG = yaml.safe_dump(config_tree(None, COLUMNS, COLUMNS, since="2024-01-01", grains=["day"]))


def interpreter(version: str) -> str:
    """A Python of this version that really runs: on the path, or one that pyenv keeps."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for command in (f"python{version}", *map(str, kept.glob(f"{version}.*/bin/python"))):
        asked = [command, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
        if shutil.which(command) and subprocess.run(asked, capture_output=True, text=True).stdout.strip() == version:
            return command
    pytest.skip(f"this machine has no Python {version}")


def answers(command: list[str], folder: Path, env: dict[str, str] | None = None, code: int = 0) -> str:
    """What a command prints that runs in `folder`, where no source lies, and ends with `code`."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def small_job(folder: Path) -> None:
    for log, rows in LOGS.items():
        (folder / log).mkdir()
        rows.to_parquet(folder / log / "rows.parquet")
    (folder / "sli.yaml").write_text(CONFIG)


def test_the_wheel_holds_the_package_its_license_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        [metadata] = [file.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    sources = {str(path.relative_to(ROOT)) for folder in ("sli", "flows") for path in (ROOT / folder).rglob("*.py")}
    data = {"sli/py.typed", "sli/command/demo/flights.yaml", "sli/command/demo/taxi.yaml"}
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "sli/report/static").rglob("*") if path.is_file()}
    assert "sli/report/static/d3.min.js" in pages
    assert {name for name in names if ".dist-info/" not in name} == sources | data | pages
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert metadata.startswith("Metadata-Version: 2.4\nName: sli-recompute\n")
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


def test_the_command_runs_from_the_wheel_alone(unpacked: Path, tmp_path: Path) -> None:
    small_job(tmp_path)
    code = "from sli.command import cli; print(cli.__file__); "
    code += "assert 0 == cli.main(['run', 'sli.yaml']) == cli.main(['show', 'sli.yaml'])"
    env = {**os.environ, "PYTHONPATH": str(unpacked)}
    printed = answers([sys.executable, "-W", "error", "-c", code], tmp_path, env)
    assert Path(printed.splitlines()[0]) == unpacked / "sli/command/cli.py"
    assert "published" in printed
    assert "0.5" in printed


@pytest.mark.parametrize("which", ["flights", "taxi"])
def test_the_config_that_the_demo_writes_is_the_example(which: str) -> None:
    example = (ROOT / "configs" / f"{which}.yaml").read_text()
    assert (ROOT / "sli/command/demo" / f"{which}.yaml").read_text() == example


@pytest.mark.soak
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_wheel_works_in_a_fresh_environment_without_and_with_extras(
    wheel: Path, tmp_path: Path, version: str
) -> None:
    bin, work = tmp_path / "venv/bin", tmp_path / "work"
    work.mkdir()
    small_job(work)
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    answers([interpreter(version), "-m", "venv", str(bin.parent)], work, env)
    answers([str(bin / "pip"), "install", "--quiet", str(wheel)], work, env)
    assert "published" in answers([str(bin / "sli"), "run", "sli.yaml"], work, env)
    assert "0.5" in answers([str(bin / "sli"), "show", "sli.yaml"], work, env)
    assert "sli-recompute[demo]" in answers([str(bin / "sli"), "demo"], work, env, code=2)

    answers([str(bin / "pip"), "install", "--quiet", f"{wheel}[demo,prefect]"], work, env)
    shown = answers([str(bin / "sli"), "demo"], work, env)
    assert "nothing to do" in shown
    assert "late feedback" in shown
    assert "up to date" in answers(
        [str(bin / "sli"), "run", "demo-flights/flights.yaml", "--as-of", "2014-01-02T06:00"], work, env
    )
    answers([str(bin / "python"), "-c", "import flows.recompute, flows.backfill, flows.serving"], work, env)
