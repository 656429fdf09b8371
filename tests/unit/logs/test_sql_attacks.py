"""SQL that attacks is refused wherever a config or `sli sql` takes SQL: by its key, in time, and no file is touched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import config_tree
from corpus.attacks import ATTACKS, IN_BRACKETS, OF_COLUMNS

from sli.config.load import checked
from sli.errors import ConfigError, SliError
from sli.logs.log import check_expressions, predictions_log
from sli.reading.sql.statement import statement

PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "where": lambda sql: {"predictions__where": sql},
    "id": lambda sql: {"predictions__id": {"sql": sql}},
    "time": lambda sql: {"predictions__time": {"sql": sql}},
    "value": lambda sql: {"predictions__value": {"sql": sql}},
    "columns": lambda sql: {"predictions__columns": {"x": {"sql": sql}}, "slice_by": [[], ["x"]]},
}
HARMLESS = {"where": OF_COLUMNS}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_an_attack_on_a_log_is_refused_in_time_by_the_name_of_its_key(here: Path, attack: str) -> None:
    began = time.monotonic()
    for key, place in PLACES.items():
        if attack in HARMLESS.get(key, (*OF_COLUMNS, *IN_BRACKETS)):
            continue
        with pytest.raises(ConfigError) as refused:
            check_expressions(predictions_log(checked(config_tree(**place(attack)))))
        assert refused.value.where.endswith(f"predictions.{key}")
        assert len(str(refused.value)) < 1500
    assert time.monotonic() - began < 5
    assert os.listdir(here) == []


def answer(text: str) -> tuple[frozenset[str], str]:
    """Which views a statement reads, or why it is refused."""
    try:
        return statement(text).views, ""
    except SliError as error:
        return frozenset(), str(error)


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_an_attack_on_the_tables_is_refused_in_time_or_reads_nothing_but_the_tables(here: Path, attack: str) -> None:
    began = time.monotonic()
    for text in (attack, f"select {attack} from daily", f"select value from daily where {attack}"):
        views, told = answer(text)
        assert views <= {"daily"}
        assert len(told) < 1500
    assert time.monotonic() - began < 5
    assert os.listdir(here) == []
