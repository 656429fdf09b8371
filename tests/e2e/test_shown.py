"""Every table of `show` honours every choice that has a meaning for it, fits a terminal, and is whole in a pipe."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from desk import TEN, ZONED, Desk

import sli
from sli.command.overview import CHANGED, GOOD, REAL
from sli.command.results import plain_lines
from sli.config.load import load_config

QUESTIONS = (GOOD, REAL, CHANGED)
SLIS: list[Any] = ["accuracy", *({"name": f"score_p{q:02}", "sli": "quantile", "q": q / 100} for q in range(4, 96, 4))]
N, DAYS = 30, 3
FIRST, SECOND, THIRD = "2024-01-20", "2024-01-21", "2024-01-22"


def times(day: int, hours: int = 0) -> Any:
    return pa.array([TEN + timedelta(days=day, hours=hours, milliseconds=i) for i in range(N)], ZONED)


def fed(desk: Desk, name: str, day: int, chosen: range, label: int, days_later: int = 0) -> None:
    known = [each for i, each in enumerate(times(day + days_later, 1).to_pylist()) if i in chosen]
    ids = [f"d{day}-{i}" for i in chosen]
    columns = {"output_id": ids, "known_at": pa.array(known, ZONED), "label": [label] * len(ids)}
    desk.feedback(f"{name}-{day}.parquet", **columns)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 SLIs after a first run, late feedback, and a backfill that found corrections."""
    desk = Desk(tmp_path_factory.mktemp("shown"), None)  # type: ignore[arg-type]
    desk.configure(slis=SLIS, slice_by=[[], ["site"]], grains=["hour", "day"], horizon="30d")
    for day in range(DAYS):
        columns = {"output_id": [f"d{day}-{i}" for i in range(N)], "predicted_at": times(day)}
        sites = [("a site with a name of many words", "B")[i % 2] for i in range(N)]
        desk.predictions(f"{day}.parquet", **columns, score=[(i + 0.5) / N for i in range(N)], site=sites)
        fed(desk, "first", day, range(0, N, 2 if day else 1), 1)
    sli.run(desk.config, as_of=FIRST)
    fed(desk, "late", 1, range(1, N, 2), 0)
    fed(desk, "late", 2, range(1, 4, 2), 0)
    sli.run(desk.config, as_of=SECOND)
    fed(desk, "corrected", 0, range(8), 0, days_later=3)
    sli.backfill(desk.config, start="2024-01-15", end="2024-01-16", as_of=THIRD)
    return desk.root


@pytest.fixture
def desk(root: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(root, capsys)


def shown(desk: Desk, *arguments: str) -> list[str]:
    said = desk.call("show", str(desk.config), *arguments)
    assert (said.code, said.err) == (0, "")
    return said.out.splitlines()


def records(desk: Desk, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads("\n".join(shown(desk, *arguments, "--json")))
    return found


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_table_of_24_slis_on_a_terminal_shows_every_value_beside_its_date(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("sli.command.grid.terminal_width", lambda: width)
    found = shown(desk, "--by", "site", "--rows", "14")
    assert max(map(len, found)) <= width
    assert found[0].startswith("m: accuracy, day")
    heads = [i for i, line in enumerate(found) if line.startswith("window ")]
    names = [name for i in heads for name in found[i].split()]
    assert set(names) >= {"accuracy", *(each["name"] for each in SLIS[1:]), "coverage", "maturity"}
    for i in heads:
        assert [line[:10] for line in found[i + 1 : i + 7]] == [f"2024-01-{d}" for d in (15, 15, 16, 16, 17, 17)]


def test_in_a_pipe_there_is_no_plot_and_a_row_is_one_whole_line(desk: Desk) -> None:
    head, *rows = shown(desk, "--by", "site", "--rows", "2")
    assert head.split()[:3] == ["window", "slice", "accuracy"]
    assert len(head) > 200
    assert [row[:10] for row in rows[:4]] == ["2024-01-16"] * 2 + ["2024-01-17"] * 2
    assert "a site with a name of many words" in "\n".join(rows)
    assert "…" not in "\n".join(rows)


def test_what_a_pipe_gets_splits_into_the_same_columns_in_every_line(tmp_path: Path) -> None:
    """The header is fixed, verdicts are words, no cell is empty, and notes begin with `#`."""
    desk = Desk(tmp_path, None)  # type: ignore[arg-type]
    slis = [{"sli": "accuracy", "objective": ">= 0.9"}, "recall", {"sli": "feedback_delay", "q": 0.5}]
    desk.configure(slis=slis, slice_by=[["site"]], grains=["day"])
    desk.predictions(site=["A", "two words", None] * 2)
    desk.feedback(label=[1, 0, None, 1, 0, None])
    sli.run(desk.config, as_of=FIRST)
    config = load_config(desk.config)
    found = plain_lines(sli.read(config, slice_by=["site"]), config, [sli.name for sli in config.declared], 14)
    fields = [re.split(" {2,}", line) for line in found]
    assert fields[0] == ["window", "slice", "accuracy", "accuracy verdict", *fields[0][4:]]
    assert fields[0][4:] == ["recall", "feedback_delay", "predictions", "coverage", "maturity"]
    assert [(row[1], row[3]) for row in fields[1:]] == [("A", "undecided"), ("null", "-"), ("two words", "undecided")]
    assert {len(row) for row in fields} == {9}
    assert fields[1][5] == "1 h"


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 SLIs after a first run and one with late feedback."""
    desk = Desk(tmp_path_factory.mktemp("late"), None)  # type: ignore[arg-type]
    desk.configure(
        slis=[{"sli": "accuracy", "objective": ">= 0.9"}, *SLIS[1:]], slice_by=[[], ["site"]], grains=["day"]
    )
    for day in range(DAYS):
        columns = {"output_id": [f"d{day}-{i}" for i in range(N)], "predicted_at": times(day)}
        desk.predictions(
            f"{day}.parquet", **columns, score=[(i + 0.5) / N for i in range(N)], site=["A", "B"] * (N // 2)
        )
        fed(desk, "first", day, range(0, N, 2 if day else 1), 1)
    sli.run(desk.config, as_of="2024-01-17T12:00")
    fed(desk, "late", 2, range(1, N, 2), 0)
    sli.run(desk.config, as_of=FIRST)
    return desk.root


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_show_alone_answers_four_questions_on_one_screen(
    late: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("sli.command.overview.terminal_width", lambda: width)
    found = shown(Desk(late, capsys))
    assert max(map(len, found)) <= width
    text = " ".join(" ".join(found).split())
    assert "accuracy 0.48, not as required (at least 0.9)" in text
    assert "14 more: sli show CONFIG --rows 1" in text
    assert "breached (>= 0.9)" in text
    if width >= 80:
        assert len(found) <= 30
        assert [found.index(question) for question in QUESTIONS] == sorted(map(found.index, QUESTIONS))
        assert "More: sli show CONFIG with --sli accuracy, --by site" in text
        assert "undecided -> breached: day 2024-01-17 B, accuracy: - -> 0.4667 (late feedback)" in text
        assert "144 results: 48 changed by late feedback, 96 became final unchanged" in text
    assert "\x1b" not in text


def test_show_alone_as_of_a_time_is_the_screen_as_it_was_believed_then(
    late: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shown(Desk(late, capsys), "--as-of", "2024-01-18")
    assert "known at 2024-01-17 12:00" in found[0]
    assert "  no changes yet: this is the first run" in found


def test_show_alone_in_a_pipe_is_the_same_text_without_trends(late: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(Desk(late, capsys))
    assert [question in found for question in QUESTIONS] == [True] * 3
    assert "█" not in "".join(found)
    assert found[5].split() == ["accuracy", "0.48", "0.3707", "..", "0.5913", "breached", "(>=", "0.9)"]


def test_of_one_slice_a_chart_is_drawn_and_of_several_a_line_each(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sli.command.grid.terminal_width", lambda: 80)
    chart = shown(desk, "--sli", "accuracy")
    assert chart[0] == "m: accuracy, day, all"
    assert chart[1].startswith("2024-01-17  ")
    assert sum("│" in line or "┤" in line for line in chart) == 12
    lines = shown(desk, "--by", "site", "--sli", "accuracy")
    assert [line.split("  ")[0] for line in lines[1:]] == ["B", "a site with a nam…"][: len(lines) - 1] or len(
        lines
    ) == 3
    every = shown(desk, "--by", "site")
    assert every[-1].startswith("--sli NAME shows another: score_p04, ")
    whole = shown(desk, "--slice", "site=B")
    assert whole[0] == "m: day 2024-01-17, B"
    assert len(whole) == 26


CHOICES: list[tuple[list[str], dict[str, set[Any]]]] = [
    (["--sli", "accuracy"], {"sli": {"accuracy"}}),
    (["--grain", "hour"], {"grain": {"hour"}}),
    (["--start", "2024-01-17"], {"window_start": {"2024-01-17T00:00:00+00:00", "2024-01-17T10:00:00+00:00"}}),
    (["--end", "2024-01-16"], {"window_start": {"2024-01-15T00:00:00+00:00", "2024-01-15T10:00:00+00:00"}}),
    (["--slice", "site=B"], {"slice": {"B"}}),
    (["--by", "site"], {"slice": {"B", "a site with a name of many words"}}),
    (["--as-of", FIRST], {"as_of": {"2024-01-20T00:00:00+00:00"}}),
]


@pytest.mark.parametrize("table", ["revisions", "backfills", "results"])
@pytest.mark.parametrize(("arguments", "expected"), CHOICES)
def test_every_choice_is_honoured_by_every_table_of_windows(
    desk: Desk, table: str, arguments: list[str], expected: dict[str, set[Any]]
) -> None:
    found = records(desk, "--table", table, *arguments)
    whole = records(desk, "--table", table)
    [(name, values)] = expected.items()
    mine = {(next(iter(row[name].values()), "") if name == "slice" else row[name]) for row in found}
    assert mine <= values
    if table == "revisions":
        assert mine == values
        assert 0 < len(found) < len(whole)
    if table == "backfills" and name in ("slice", "grain"):
        assert 0 < len(found) < len(whole)


def test_rows_and_order_hold_for_text_and_json_alike(desk: Desk) -> None:
    [row] = records(desk, "--table", "revisions", "--rows", "1")
    assert (row["cause"], row["backfill"] is None) == ("corrected feedback", False)
    head, *lines = shown(desk, "--table", "revisions", "--rows", "3")
    assert head.split() == ["window", "slice", "SLI", "change", "because", "coverage", "maturity", "as", "of", "run"]
    assert len(lines) == 3
    assert f"{row['old_value']:.4g} -> {row['value']:.4g}" in lines[0]
    assert len(shown(desk, "--table", "revisions")) == 15
    everything = records(desk, "--table", "revisions")
    sequences = [each["sequence"] for each in everything]
    assert sequences == sorted(sequences, reverse=True)
    late = [each for each in everything if each["cause"] == "late feedback" and each["value"] is not None]
    moves = [abs(r["value"] - r["old_value"]) / max(r["value"], r["old_value"], 1e-300) for r in late if r["old_value"]]
    assert moves == sorted(moves, reverse=True)
    assert len(records(desk, "--table", "results", "--sli", "accuracy", "--rows", "1")) == 1
    assert len(records(desk, "--sli", "accuracy")) == 3
    assert shown(desk, "--rows", "0")[1:] == []


def test_the_tables_of_runs_are_summed_up_in_words_and_chosen_by_as_of(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, *lines = shown(desk, "--table", "runs")
    assert head.split() == ["as", "of", "tiles", "changed", "seconds", "because", "backfill", "run"]
    assert [line[:10] for line in lines] == [FIRST, SECOND, THIRD]
    assert "first run: predictions (3 files), first run: feedback (3 files)" in lines[0]
    assert "new feedback (2 files)" in lines[1]
    assert "asked" in lines[2]
    assert max(map(len, lines)) < 200
    assert len(shown(desk, "--table", "runs", "--start", SECOND)) == 3
    assert len(shown(desk, "--table", "runs", "--end", SECOND)) == 2
    assert len(shown(desk, "--table", "runs", "--rows", "1")) == 2
    [last] = records(desk, "--table", "runs", "--rows", "1")
    assert last["as_of"].startswith(THIRD)
    assert json.loads(last["plan"])["backfill"] == last["backfill"]
    monkeypatch.setattr("sli.command.grid.terminal_width", lambda: 80)
    assert max(map(len, shown(desk, "--table", "runs"))) <= 80
    assert max(map(len, shown(desk, "--table", "backfills"))) <= 80


def test_the_audit_is_that_of_the_time_asked_for(desk: Desk) -> None:
    now = shown(desk, "--table", "audit")
    assert now[1].startswith("  feedback: 8 superseded")
    assert shown(desk, "--table", "audit", "--as-of", SECOND) == ["audit: nothing to report"]
    assert shown(desk, "--table", "audit", "--as-of", THIRD) == now
    assert [row["check"] for row in records(desk, "--table", "audit", "--rows", "1")] == ["superseded"]
    assert records(desk, "--table", "audit", "--rows", "0") == []


CHOSEN = [["--sli", "accuracy"], ["--grain", "day"], ["--slice", "site=B"], ["--by", "site"]]


@pytest.mark.parametrize(
    ("table", "choice"),
    [*((table, each) for table in ("audit", "runs") for each in CHOSEN), ("audit", ["--start", "2024-01-15"])],
)
def test_a_choice_without_a_meaning_is_an_error_that_says_what_has_one(
    desk: Desk, table: str, choice: list[str]
) -> None:
    said = desk.call("show", str(desk.config), "--table", table, *choice)
    assert said.code == 2
    assert said.has(f"the table `{table}` holds no windows", "as_of of a run")


@pytest.mark.parametrize("table", ["revisions", "backfills"])
def test_a_name_that_is_none_is_told_for_every_table(desk: Desk, table: str) -> None:
    said = desk.call("show", str(desk.config), "--table", table, "--sli", "acuracy")
    assert said.code == 2
    assert said.has("did you mean 'accuracy'?")


def test_query_and_slices_honour_rows_in_json_and_draw_nothing_in_a_pipe(desk: Desk) -> None:
    config = str(desk.config)
    query = ["query", config, "accuracy", "--size", "1h", "--start", "2024-01-15T10:00", "--every", "1d"]
    assert len(json.loads(desk.call(*query, "--json").out)) == 3
    assert len(json.loads(desk.call(*query, "--json", "--rows", "1").out)) == 1
    assert desk.call(*query).out.splitlines()[0].split()[:3] == ["from", "until", "slice"]
    values = json.loads(desk.call("query", config, "score_p08", "--values", "--rows", "2", "--json").out)
    assert len(values) == 2
    slices = ["slices", config, "--sli", "accuracy", "--support", "2", "--json", "--end", "2024-01-16"]
    assert len(json.loads(desk.call(*slices).out)) == 2
    assert len(json.loads(desk.call(*slices, "--rows", "1").out)) == 1


def test_what_a_run_changed_is_told_the_largest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path, capsys)
    desk.configure(slis=["accuracy"], slice_by=[[], ["site"]], grains=["day"], horizon="30d")
    for day in range(DAYS):
        ids = {"output_id": [f"d{day}-{i}" for i in range(N)], "predicted_at": times(day)}
        desk.predictions(f"{day}.parquet", **ids, score=[0.9] * N, site=["B"] * N)
        fed(desk, "first", day, range(N - 1), 1)
    desk.run("--as-of", FIRST)
    fed(desk, "corrected", 0, range(3), 0, days_later=3)
    fed(desk, "corrected", 1, range(9), 0, days_later=3)
    fed(desk, "late", 2, range(N - 1, N), 1)
    said = desk.run("--as-of", SECOND)
    told = [line for line in said.out.splitlines() if " -> " in line]
    assert told == [
        "  day 2024-01-16 all, accuracy: 1 -> 0.6897 (corrected feedback)",
        "  day 2024-01-16 B, accuracy: 1 -> 0.6897 (corrected feedback)",
        "  day 2024-01-15 all, accuracy: 1 -> 0.8966 (corrected feedback)",
        "  day 2024-01-15 B, accuracy: 1 -> 0.8966 (corrected feedback)",
    ]
    assert "  all of them, the largest first: sli show CONFIG --table revisions" in said.out
