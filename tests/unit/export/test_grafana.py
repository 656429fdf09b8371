"""The dashboard: each query runs on a real PostgreSQL, each key is one that Grafana knows. No Grafana draws it here."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from databases import Database
from desk import TEN, ZONED, Desk
from grafana import Board
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import sli

COURSE, COVERAGE = "$sli, $grain, $slice", "Labelled predictions"
QUESTIONS = [
    "How good is it now, and is that as required?",
    "Over time",
    "Is the change real, or late labels, or bad data?",
    "What changed since the run before?",
]
MODEL, SLI, REGION = 'it\'s a "model" 🛫', "it's so", 'it\'s "b"'


@pytest.fixture
def board(tmp_path: Path, capsys: pytest.CaptureFixture[str], database: Database) -> Board:
    """Of a model with gaps, slices, an objective, seconds, nulls, bad rows and changes."""
    desk = Desk.made(tmp_path, capsys)
    desk.configure(
        model=MODEL,
        export={"postgres": {"url": database.url}},
        horizon="10d",
        grains=["hour", "day", "cumulative", {"size": "7d"}],
        slice_by=[[], ["region"]],
        slis=[
            "log_loss",
            {"name": SLI, "sli": "accuracy", "objective": ">= 0.9"},
            {"sli": "feedback_delay", "q": 0.5, "objective": "<= 7200"},
            "precision",
        ],
    )
    # Hours 0, 1, 2, 5 and 6 of some days have predictions, so hours and days are missing in between.
    hours = [24 * day + hour for day in (0, 1, 2, 20) for hour in (0, 1, 2, 5, 6)]
    at = [TEN + timedelta(hours=hour, minutes=minute) for hour in hours for minute in (1, 2, 3)]
    n = len(at)
    regions = [("a", REGION)[i % 2] for i in range(n)]
    desk.predictions(n=n, predicted_at=pa.array(at, ZONED), region=regions)
    known = pa.array([one + timedelta(minutes=90) for one in at], ZONED)
    desk.feedback(n=n, known_at=known, label=[i % 2 for i in range(n)])
    desk.run("--as-of", "2024-02-05")
    (tmp_path / "feedback/broken.parquet").write_text("no Parquet")
    later = pa.array([TEN + timedelta(days=20, hours=10)] * 6, ZONED)
    desk.feedback("b.parquet", known_at=later, output_id=[f"p{i}" for i in range(n - 6, n)], label=[1] * 6)
    desk.run("--as-of", "2024-02-06")
    assert desk.call("export", "grafana", str(desk.config), "--folder", str(tmp_path / "grafana")).code == 0
    return Board(tmp_path / "grafana/dashboards/sli.json", database.url)


def test_every_query_runs_for_every_choice(board: Board) -> None:
    first = board.chosen()
    assert (first["model"], first["sli"], first["grain"], first["slice"]) == (MODEL, SLI, "day", "{}")
    names = ("sli", "grain", "slice")
    for values in itertools.product(*(board.options(name, first) for name in names)):
        variables = {**first, **dict(zip(names, values, strict=True))}
        for panel, target in board.targets():
            found = board.rows(target["rawSql"], variables)
            if target["format"] == "time_series":
                times = [row["time"] for row in found]
                assert times == sorted(times)
                assert len(set(times)) == len(times)
                assert found, (panel["title"], values)
                assert all(isinstance(v, float | None) for row in found for k, v in row.items() if k != "time")


def test_the_course_has_the_values_of_the_table_and_nothing_where_windows_are_missing(board: Board) -> None:
    key = json.dumps({"region": REGION}, separators=(",", ":"))
    variables = board.chosen(sli=SLI, grain="hour", slice=key)
    found = {row["time"]: row for row in board.shown(COURSE, variables)}
    expected = sli.read(Path(board.path.parents[2] / "c.yaml"), sli=SLI, grain="hour", slice={"region": REGION})
    assert len(expected) > 10
    for row in expected.itertuples():
        shown = found.pop(row.window_end)
        value = None if row.value != row.value else row.value
        assert shown["final" if row.maturity == "final" else "provisional"] == value
        assert shown["provisional" if row.maturity == "final" else "final"] is None
        assert shown["objective"] == 0.9
        assert shown["breached"] == (value if row.verdict == "breached" else None)
    # What is left are the gaps: no value at all, and between windows.
    assert len(found) >= 4
    assert {value for row in found.values() for name, value in row.items() if name != "time"} == {None}
    restated = [row for row in board.shown(COURSE, board.chosen(sli=SLI, grain="day")) if row["restated"] is not None]
    assert len(restated) == 1


def test_only_the_time_that_is_chosen_is_shown(board: Board) -> None:
    variables = board.chosen(grain="hour")
    some = board.shown(COURSE, variables, "2024-01-16T00:00:00Z", "2024-01-16T23:59:59Z")
    assert {row["time"].date().isoformat() for row in some} == {"2024-01-16"}
    assert len(some) < len(board.shown(COURSE, variables))


def test_the_panels_say_what_the_page_says(board: Board) -> None:
    variables = board.chosen()
    [sentence] = board.shown("$model", variables)
    assert sentence["sentence"].startswith("The last 7 days: ")
    cards = board.shown("The last 7 days against the 7 days before", variables)
    assert [card["SLI"] for card in cards] == [SLI, "feedback_delay", "log_loss", "precision"]
    assert cards[0]["verdict"] in ("breached", "undecided")
    assert cards[1]["now"] == "01:30:00"
    assert {row["question"] for row in board.shown("What was found", variables)} >= {"Chance?", "Bad data?"}
    slices = board.shown("Slices, the worst first", variables)
    assert {row["slice"] for row in slices} == {"all", "a", REGION}
    assert [row["value"] for row in slices] == sorted(row["value"] for row in slices)
    audit = board.shown("Rows set aside or not counted", variables)
    assert "unreadable" in {row["check"] for row in audit}
    assert {row["because of"] for row in board.shown("Results by cause", variables)} >= {"corrected feedback"}
    assert len(board.shown("Changed results", variables)) > 3
    assert len(board.shown("Runs", variables)) == 2


def test_an_sli_in_seconds_has_that_unit(board: Board) -> None:
    units = {
        name: board.rows(board.panel(COURSE)["targets"][1]["rawSql"], board.chosen(sli=name))
        for name in (SLI, "feedback_delay")
    }
    assert units == {SLI: [{"unit": "none"}], "feedback_delay": [{"unit": "s"}]}


def test_grafana_knows_every_key(board: Board) -> None:
    """Its library drops keys that it does not know when it reads a dashboard."""
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(board.tree), cls=JSONEncoder))
    assert lost(board.tree, again) == []
    misspelt = {**board.tree, "panels": [{**board.panel(COURSE), "titel": "x"}]}
    assert lost(misspelt, json.loads(json.dumps(Dashboard.from_json(misspelt), cls=JSONEncoder)))


def lost(tree: Any, again: Any, at: str = "") -> list[str]:
    """The places of what one tree has and the other has not or otherwise."""
    if isinstance(tree, dict) and isinstance(again, dict):
        return [place for key, value in tree.items() for place in lost(value, again.get(key), f"{at}.{key}")]
    if isinstance(tree, list) and isinstance(again, list) and len(tree) == len(again):
        return [place for i, (a, b) in enumerate(zip(tree, again, strict=True)) for place in lost(a, b, f"{at}[{i}]")]
    return [] if tree == again else [at]


def test_the_panels_have_places_numbers_and_one_source(board: Board) -> None:
    assert [panel["title"] for panel in board.panels if panel["type"] == "row"] == QUESTIONS
    assert [panel["id"] for panel in board.panels] == [*range(1, len(board.panels) + 1)]
    cells: set[tuple[int, int]] = set()
    for panel in board.panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own
    for panel, target in board.targets():
        assert (
            target["datasource"]
            == panel["datasource"]
            == {"type": "grafana-postgresql-datasource", "uid": "sli-postgres"}
        )
    for panel in board.panels:
        refs = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(refs)) == len(refs)
        for change in panel.get("transformations", ()):
            assert change["options"]["configRefId"] in refs


def test_the_provisioning_names_the_database_and_no_password(board: Board) -> None:
    folder = board.path.parents[1]
    source = yaml.safe_load((folder / "provisioning/datasources/sli.yaml").read_text())["datasources"][0]
    assert source["uid"] == board.panels[0]["datasource"]["uid"]
    assert f"@{source['url']}/{source['jsonData']['database']}" in board.url
    assert source["secureJsonData"] == {"password": "${RESULTS_READER_PASSWORD}"}
    texts = [path.read_text() for path in folder.rglob("*.*")]
    assert len(texts) == 3
    assert not [text for text in texts if "admin" in text]


def test_the_dashboard_opens_where_there_are_results(board: Board) -> None:
    assert board.tree["time"] == {"from": "2023-12-06T17:00Z", "to": "2024-02-04T17:00Z"}


def test_a_folder_that_cannot_be_written_is_told(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    from sli.command.cli import main

    config = str(board.path.parents[2] / "c.yaml")
    assert main(["export", "grafana", config, "--folder", config]) == 2
    assert "the files for Grafana cannot be written" in capsys.readouterr().err
