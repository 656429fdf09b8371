"""`sli status` says on one screen what an hourly job has done and what waits."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from desk import Desk, N


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


def test_a_store_without_results_says_what_to_do(desk: Desk) -> None:
    assert desk.call("status", str(desk.config)).has("nothing is published yet: `sli run CONFIG`")
    assert desk.untouched


def test_the_screen_has_the_last_run_what_it_changed_and_the_size_of_each_table(desk: Desk) -> None:
    assert desk.run().code == 0
    desk.feedback("late.parquet", label=[1] * N)
    assert desk.run("--as-of", "2024-02-02").code == 0
    said = desk.call("status", str(desk.config))
    assert (said.code, said.err) == (0, "")
    assert said.has(
        "as of 2024-02-02T00:00Z, 0 hours recomputed, 0 results changed in",
        ": new feedback",
        "maintenance  ",
        "newest hour  ends 2024-01-15T11:00Z, ",
        "0 hours for a run, 0 hours to be confirmed by one, 1 hour held for a backfill",
    )
    assert re.search(r"^results +1 +1 +\d", said.out, flags=re.MULTILINE), said.out
    assert re.search(r"^runs +2 +2 +\d", said.out, flags=re.MULTILINE), said.out
    assert len(said.out.splitlines()) < 24, "it is one screen"


def test_the_json_has_the_same(desk: Desk) -> None:
    assert desk.run().code == 0
    found = json.loads(desk.call("status", str(desk.config), "--json").out)
    assert (found["model"], found["last_run"]["as_of"], found["hours"]["held"]) == ("m", "2024-02-01T00:00Z", 0)
    assert {size["name"]: size["rows"] for size in found["tables"]}["results"] == 1
    assert found["maintenance"] == {"files": 0, "bytes": 0, "files_to_merge": 0, "revisions_to_thin": 0}
    assert found["behind_seconds"] > 86_400 * 365


def test_a_store_that_lost_a_table_is_told_with_what_to_do(desk: Desk) -> None:
    assert desk.run().code == 0
    shutil.rmtree(desk.root / "store/tiles")
    said = desk.call("status", str(desk.config))
    assert said.code == 4
    assert said.has("a table of the store is missing")


def test_of_several_models_each_has_a_row(desk: Desk) -> None:
    assert desk.run().code == 0
    (desk.root / "other.yaml").write_text(
        desk.config.read_text()
        .replace("model: m", "model: n")
        .replace("/store", "/two")
        .replace("store: store", "store: two")
    )
    said = desk.call("status", str(desk.root))
    assert said.has("nothing is published yet", "as of 2024-02-01T00:00Z", "2 models")
