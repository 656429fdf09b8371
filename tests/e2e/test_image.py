"""The image of docker-compose.yml without an engine: the steps of the Dockerfile, then the stack from what they made.

Each service runs as a user that is not root, on a read-only file system but for the folders that the compose file gives
it. Limit: the base image is this machine, and `apt` or `useradd` steps are not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sealed
from stack import COMPOSE, ROOT, Stack, running_stack, written_by

from sli.engine.storage import filesystem

STEPS = re.findall(r"^([A-Z]+) (.*)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)


def test_the_image_ends_as_a_user_that_is_not_root_and_may_write_where_its_server_does() -> None:
    assert [text for step, text in STEPS if step == "USER"] == ["sli"]
    assert all(step not in ("COPY", "RUN") for step, _ in STEPS[[step for step, _ in STEPS].index("USER") :])
    owned = re.findall(r"chown sli ((?:/\S+ ?)+)", " ".join(text for step, text in STEPS if step == "RUN"))
    for service, found in COMPOSE["services"].items():
        if found["image"] == "sli":
            assert found["read_only"], service
            assert (found["cap_drop"], found["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), service
            assert set(written_by(service)) <= {"/tmp", *owned[0].split()}, service


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The folder `app` and an environment `venv`, made by the steps of the Dockerfile and nothing else."""
    if not sealed.can_seal():
        pytest.skip("this needs root, and a kernel that lets it make a mount namespace")
    folder = Path(tempfile.mkdtemp(prefix="sli-image-"))
    folder.chmod(0o755)
    try:
        app, venv = folder / "app", folder / "venv"
        app.mkdir()
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        for step, text in STEPS:
            if step == "COPY":
                *sources, to = text.split()
                for source in sources:
                    copy(ROOT / source, app / to)
            if step == "RUN" and "useradd" not in text:
                env = {**os.environ, "PATH": f"{venv}/bin:/usr/bin:/bin", "PYTHONPATH": ""}
                done = subprocess.run(text, shell=True, cwd=app, env=env, capture_output=True, text=True)
                assert done.returncode == 0, done.stdout + done.stderr
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, to / source.name if to.is_dir() else to)


@pytest.fixture(scope="module")
def stack(image: Path) -> Iterator[Stack]:
    folder = image / "running"
    folder.mkdir()
    with running_stack(folder, image=image) as found:
        yield found


@pytest.mark.soak
def test_the_versions_of_the_image_are_those_of_the_lock(image: Path) -> None:
    found = subprocess.run([f"{image}/venv/bin/pip", "check"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    listed = subprocess.run([f"{image}/venv/bin/pip", "freeze"], capture_output=True, text=True).stdout
    lock = (ROOT / "configs/constraints.txt").read_text().split()
    ours = {line for line in listed.split() if "==" in line}
    assert {line.lower() for line in ours} <= {line.lower() for line in lock}


@pytest.mark.soak
def test_an_hourly_run_of_the_sealed_stack_publishes(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stack.storage.items():
        monkeypatch.setenv(name, value)
    times = 1_359_720_000_000_000 + np.arange(60) * 60_000_000
    ids, times = [str(i) for i in range(60)], pa.array(times).cast(pa.timestamp("us", tz="UTC"))
    upload(
        "predictions", {"output_id": ids, "predicted_at": times, "score": np.linspace(0, 1, 60), "origin": ["EWR"] * 60}
    )
    upload("feedback", {"output_id": ids, "known_at": times, "late": np.arange(60) % 2})
    ended = stack.ended(stack.start("recompute/hourly"))
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    assert "published" in ended["state"]["message"]
    assert "set aside" not in ended["state"]["message"]


def upload(log: str, columns: dict[str, Any]) -> None:
    fs, _ = filesystem("s3://sli")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    fs.pipe_file(f"sli/{log}/1.parquet", sink.getvalue().to_pybytes())
