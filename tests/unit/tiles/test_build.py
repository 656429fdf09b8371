"""Tiles are built in databases that go on to the next task, unless SQL of the config runs in them: it reads no file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from builders import MONDAY, small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario

from sli.engine import connection
from sli.errors import EngineError

READS = {"name": "own", "states": {"x": "max((SELECT length(content) FROM read_text('/etc/passwd')))"}, "value": "x"}


def logged(folder: Path, **settings: Any) -> Scenario:
    scenario = Scenario(folder, small_world(slis=("accuracy", "roc_auc")), settings)
    scenario.log_predictions("a.parquet", [Prediction(f"a{i}", MONDAY + i * HOUR, 0.5, {}) for i in range(9)])
    scenario.log_feedback("a.parquet", [Feedback(f"a{i}", MONDAY + i * HOUR, 1.0) for i in range(5)])
    return scenario


def test_sql_of_a_config_reads_no_file_where_tiles_are_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even SQL that nothing else refuses."""
    monkeypatch.setattr("sli.slis.custom.sql.check_expression", lambda *_, **__: None)
    monkeypatch.setattr("sli.runs.recompute.check_states", lambda *_: None)
    scenario = logged(tmp_path, slis=["accuracy", READS])
    with pytest.raises(EngineError, match="disabled"):
        scenario.run(MONDAY + DAY)


def test_runs_leave_databases_to_each_other_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = logged(tmp_path)
    scenario.run(MONDAY + DAY)
    monkeypatch.setattr(duckdb, "connect", lambda **_: pytest.fail("a database is opened that another run could leave"))
    scenario.log_feedback("b.parquet", [Feedback(f"a{i}", MONDAY + 10 * HOUR, 0.0) for i in range(3, 8)])
    assert scenario.run(MONDAY + DAY).plan.new_rows, "it amends"
    scenario.check(MONDAY + DAY)
    idle = [database for databases in connection._IDLE.values() for database in databases]
    assert idle
    for database in idle:
        assert database.execute("SELECT table_name FROM duckdb_tables()").fetchall() == []
