"""SQL of a config: what attacks it with is refused in time and touches no file; what people write stays accepted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
from corpus.attacks import ATTACKS, FILE
from desk import Desk

from sli.engine.expression import check_expression, locked_database, restrict_access, run_within
from sli.engine.functions import ALLOWED, REFUSED
from sli.errors import ConfigError
from sli.slis.custom import sql
from sli.slis.custom.sql import from_sql
from sli.slis.states import Merged

COLUMNS = ("fare", "tip", "region", "payload", "tags", "paid_at")
WRITTEN = [
    "loss / labelled",
    "high - low",
    "n / predictions",
    "100.0 * n / nullif(labelled, 0)",
    "CASE WHEN labelled > 0 THEN loss / labelled END",
    "CASE n WHEN 1 THEN 2 ELSE 3 END",
    "sqrt(loss / n)",
    "ln(n + 1) + log10(n) + exp(-n)",
    "greatest(low, least(high, n))",
    "coalesce(loss, 0) / n",
    "if(n > 0, loss / n, NULL)",
    "round(loss / n, 2)",
    "loss BETWEEN low AND high",
    "n IN (1, 2, 3)",
    "n NOT IN (1, 2)",
    "loss IS NOT NULL AND NOT (n = 0 OR low > high)",
    "power(loss, 2) + loss ** 2 - loss ^ 2",
    "n // 2 + n % 2",
    "loss / n /* a mean */",
    "loss\n-- a mean\n/ n",
    "(loss)::DOUBLE / CAST(n AS BIGINT)",
    "list_sum([loss, low, high])",
    "loss / 1e3 + .5 + 1_000",
    '"loss" / "n"',
    "LOSS / Labelled",
    "TRY(ln(n))",
]
PAIRS = [
    "count(*)",
    "count()",
    "count(fare)",
    "count(CASE WHEN region = 'north' THEN 1 END)",
    "sum(2)",
    "sum(fare * tip)",
    "sum(CASE WHEN label AND NOT decision THEN 5 WHEN decision AND NOT label THEN 1 ELSE 0 END)",
    "max(prediction - label::INT)",
    "min(fare)",
    "sum(hour(predicted_at))",
    "sum(date_part('dow', predicted_at))",
    "sum(EXTRACT(epoch FROM known_at - predicted_at))",
    "sum(delay) ",
    " SUM ( delay / 60 )",
    "sum((region LIKE 'n%')::INT)",
    "sum((region ILIKE '%h' AND region NOT LIKE 'x%')::INT)",
    "sum(regexp_matches(region, '^n.*h$')::INT)",
    "sum(length(trim(lower(region))))",
    "sum((payload ->> '$.amount')::DOUBLE)",
    "sum(json_extract(payload, '$.amount')::DOUBLE)",
    "sum(payload.amount)",
    "sum(len(list_filter(tags, lambda x: x > 1)))",
    "sum(list_sum([x * 2 for x in tags if x > 1]))",
    "sum(tags[1] + tags[-1])",
    "sum(list_contains(tags, 3)::INT)",
    "max(date_diff('day', paid_at, predicted_at))",
    "sum((paid_at > TIMESTAMP '2024-01-01' AND paid_at < DATE '2025-01-01' + INTERVAL 1 DAY)::INT)",
    "sum((paid_at AT TIME ZONE 'Europe/Berlin' IS DISTINCT FROM predicted_at)::INT)",
    "sum(try_cast(region AS DECIMAL(10, 2)))",
    "sum(abs(fare - tip))",
    "sum(coalesce(fare, 0) + ifnull(tip, 0))",
    "sum(split_part(region, '-', 2)::INT)",
    "sum(CASE WHEN region = 'a) OR (b' THEN 1 ELSE 0 END)",
    "sum(CASE WHEN region = '--' OR region = '/*' OR region = 'it''s' THEN 1 END)",
    "sum({'a': fare}.a)",
    "sum(greatest(fare, tip, 0))",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_an_attack_is_refused_in_time_and_touches_no_file(here: Path, attack: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError) as value:
        from_sql({"loss": "sum(fare)"}, attack, COLUMNS)
    assert value.value.where == "value"
    with pytest.raises(ConfigError) as state:
        from_sql({"loss": f"sum({attack})"}, "loss", COLUMNS)
    assert state.value.where == "states.loss"
    for error in (value.value, state.value):
        assert len(str(error)) < 1500
    assert time.monotonic() - began < 5
    assert os.listdir(here) == []


@pytest.mark.parametrize("text", WRITTEN)
def test_an_expression_over_states_is_accepted(text: str) -> None:
    states = {"loss": "sum(fare)", "n": "count(*)", "low": "min(fare)", "high": "max(fare)"}
    assert from_sql(states, text, COLUMNS).states.keys() == states.keys()


@pytest.mark.parametrize("text", ["[a]", "'abc'", "INTERVAL 1 DAY", "{'x': a}", "DATE '2024-01-01'", "a::VARCHAR"])
def test_a_value_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a number"):
        from_sql({"a": "sum(fare)"}, text, COLUMNS)


@pytest.mark.parametrize("text", ["sum(fare) + sum(tip)", "sum(fare) / count(*)", "max(fare) - min(')' || region)"])
def test_several_aggregates_are_no_state(text: str) -> None:
    with pytest.raises(ConfigError, match="one mergeable aggregate"):
        from_sql({"a": text}, "a", COLUMNS)


@pytest.mark.parametrize("text", PAIRS)
def test_an_aggregate_over_columns_is_accepted(text: str) -> None:
    [state] = from_sql({"x": text}, "x", COLUMNS).states.values()
    inner = text.strip()[text.strip().index("(") + 1 : -1].strip()
    # The text itself stays what the identity of the stored state rests on.
    assert inner in ("", "*") or f"({inner})" in state.of + state.where


def test_the_columns_an_expression_rests_on_are_told() -> None:
    text = "list_filter(Tags, lambda fare: fare > tip)[1] + payload.fare"
    assert check_expression(text, COLUMNS) == {"tags", "tip", "payload"}


def test_every_function_that_is_allowed_exists_and_none_of_them_is_of_those_refused() -> None:
    parsed = {"coalesce", "ifnull"}  # these the parser takes for operators
    sql = "SELECT function_name FROM duckdb_functions() WHERE function_type IN ('scalar', 'macro')"
    there = {name.lower() for (name,) in duckdb.sql(sql).fetchall()}
    assert ALLOWED - there - parsed <= {"//", "^@", "&&", "->>", "->", "!~~", "!~~*", "~~~", "@"}
    assert not ALLOWED & set(REFUSED)
    volatile = "SELECT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE' OR has_side_effects"
    assert not ALLOWED & {name for (name,) in duckdb.sql(volatile).fetchall()}


def test_an_engine_that_is_shut_in_opens_nothing(here: Path) -> None:
    (here / "known.csv").write_text("x\n1\n")
    with duckdb.connect() as con:
        restrict_access(con, [str(here / "known.csv")])
        assert con.execute(f"SELECT x FROM read_csv('{here}/known.csv')").fetchall() == [(1,)]
    with locked_database().cursor() as con:
        for text in (
            "SELECT * FROM read_text('/etc/hostname')",
            f"COPY (SELECT 7) TO '{here}/{FILE}'",
            "SELECT * FROM glob('/*')",
            "SET enable_external_access=true",
            "SET threads=2",
            "INSTALL httpfs",
        ):
            with pytest.raises(duckdb.Error):
                con.execute(text)
    assert os.listdir(here) == ["known.csv"]


def test_work_that_does_not_end_is_given_up() -> None:
    con = duckdb.connect()
    with pytest.raises(TimeoutError):
        run_within(con, 0.1, lambda: con.execute("SELECT sum(hash(range)) FROM range(1000000000000)").fetchall())


def merged(n: list[float]) -> Merged:
    ones = np.ones(len(n), dtype=np.int64)
    return Merged(ones, ones, {"n": np.array(n)}, ones)


def test_a_value_that_fails_on_a_row_leaves_the_others() -> None:
    found = from_sql({"n": "sum(fare)"}, "n::TINYINT", COLUMNS).value(merged([1.0, 300.0]))
    assert found.value[0] == 1
    assert np.isnan(found.value[1])
    assert found.reason.tolist() == [None, sql.NULL]


def test_a_value_that_does_not_end_is_undefined_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "VALUE_SECONDS", 0.1)
    nested = "n"
    for i in range(7):
        nested = f"list_sum([{nested} FOR x{i} IN [{', '.join(['1'] * 20)}]])"
    found = from_sql({"n": "sum(fare)"}, nested, COLUMNS).value(merged([1.0]))
    assert found.reason.tolist() == [sql.ENDLESS]


@pytest.mark.parametrize("command", ["run", "plan", "show"])
def test_a_config_cannot_write_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    desk = Desk.made(tmp_path, capsys)
    desk.configure(slis=[{"name": "x", "states": {"n": "count(*)"}, "value": ATTACKS[0]}])
    said = desk.call(command, str(desk.config))
    assert said.code == 2
    assert said.has("slis[0]: value", "this SQL cannot be used")
    assert not (tmp_path / FILE).exists()
