"""Pages of models that have little, or are odd: no labels, one window, no whole window yet, no interval."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of

import sli
from sli.config.load import load_config
from sli.report.chunks import unpacked
from sli.report.contents import gathered
from sli.report.page import rendered

MONDAY = at("2024-01-15T00:00")


def page_of(root: Path, *, hours: int = 30, labelled: bool = True, zone: str = "UTC", **config: Any) -> str:
    """The page of a small model."""
    scenario = Scenario(root, small_world(zone=zone, slice_by=((), ("site",))))
    times = [MONDAY + number * HOUR for number in range(hours)]
    scenario.log_predictions(
        "p.parquet", [Prediction(str(time), time, time % 7 / 7, {"site": "AB"[time // HOUR % 2]}) for time in times]
    )
    scenario.log_feedback("f.parquet", [Feedback(str(time), time + 1, 1.0) for time in times if labelled])
    tree = config_of(scenario.world, root) | {"slice_by": [[]]} | config
    (root / "c.yaml").write_text(yaml.safe_dump(tree))
    sli.run(root / "c.yaml", as_of=pd.Timestamp(MONDAY + 4 * DAY, unit="us", tz="UTC").isoformat())
    config = load_config(root / "c.yaml")
    return rendered(config, gathered(config))


def chunk_of(page: str, slice: int = 0, grain: int = 0) -> Any:
    [text] = re.findall(rf'id="chunk-{slice}-{grain}">([^<]+)<', page)
    return unpacked(text)


def text_of(page: str) -> str:
    return " ".join(
        html.unescape(re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", page, flags=re.S)).split()
    )


def test_without_labels_the_reason_is_told_and_never_undecided(tmp_path: Path) -> None:
    page = page_of(tmp_path, labelled=False, slis=[{"sli": "recall", "objective": ">= 0.4"}, "prediction_rate"])
    chunk = chunk_of(page)
    assert chunk["slis"][0]["value"] == []
    assert (set(chunk["slis"][0]["verdict"]), set(chunk["slis"][0]["why"])) == ({"-"}, {"0"})
    assert chunk["slis"][0]["reasons"] == ["no labelled predictions"]
    assert len(chunk["slis"][1]["value"]) == 30
    assert "recall has no value: no labelled predictions" in text_of(page)
    assert "no value no labelled predictions" in text_of(page)


def test_one_window_of_an_sli_without_an_interval_is_a_page(tmp_path: Path) -> None:
    cost = {"name": "cost", "states": {"rows": "count(*)"}, "value": "rows / labelled"}
    page = page_of(tmp_path, hours=1, slis=[cost])
    chunk = chunk_of(page)
    assert (len(chunk["start"]), chunk["slis"][0]["low"]) == (1, [])
    assert "no interval" in text_of(page)
    assert "No changes yet: this is the first run" in text_of(page)
    assert '<svg class="spark"' not in page


def test_windows_that_since_cuts_are_left_out(tmp_path: Path) -> None:
    page = page_of(tmp_path, grains=[{"size": "7d", "every": "1d"}, "hour"])
    assert chunk_of(page, grain=0)["start"] == []
    assert len(chunk_of(page, grain=1)["start"]) == 30
    assert '"first":{"sli":0,"slice":0,"grain":1' in page


def test_hours_of_a_zone_of_half_hours(tmp_path: Path) -> None:
    page = page_of(tmp_path, zone="Asia/Kolkata", since="2024-01-15T06:00", grains=["hour"])
    chunk = chunk_of(page)
    assert len(chunk["start"]) in (29, 30)
    assert "times in Asia/Kolkata" in text_of(page)


def test_without_a_whole_the_cards_are_of_all_slices_together_and_have_no_line(tmp_path: Path) -> None:
    page = page_of(tmp_path, slice_by=[["site"]], grains=["hour"])
    assert '"slices":[{"name":"A","by":["site"]' in page
    assert '<svg class="spark"' not in page
    assert len(chunk_of(page, slice=1)["start"]) == 15


def test_every_sli_is_judged_also_where_only_some_have_an_objective(tmp_path: Path) -> None:
    slis = ["precision", "brier", {"sli": "accuracy", "objective": ">= 0.1"}]
    page = page_of(tmp_path, slis=slis, grains=["day"])
    assert page.count('class="findings"') == 3
    assert re.search(r'class="card" data-sli="0".*?accuracy', page, re.S)
