"""The page without a browser: its figures are those of the tables, and no text of a log or config is taken for HTML."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import yaml
from builders import small_world
from faulty import faulty
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of

import sli
from sli.config.load import load_config
from sli.config.several import Model
from sli.errors import ConfigError, SliError
from sli.masking import keep_secret
from sli.reading.publication import opened
from sli.report import contents
from sli.report.choice import Slice, chosen_slices
from sli.report.chunks import unpacked
from sli.report.contents import Contents
from sli.report.history import History, history_of
from sli.report.index import write_reports
from sli.report.page import rendered, write_report

START = at("2024-03-08T05:00")  # midnight in New York; the clocks change on the 10th
HOSTILE = "</script><script>alert(1)</script>"
SITES = ("JFK", HOSTILE, "a\"b\n'&")
WORLD = small_world(
    horizon=2 * DAY,
    since=START,
    zone="America/New_York",
    slice_by=((), ("site",)),
    grains=("hour", "day", "cumulative", ("sliding", "2d/1d", ("d", 2), ("d", 1))),
)
SLIS = ["accuracy", {"sli": "recall", "objective": ">= 0.4"}, {"sli": "feedback_delay", "q": 0.9}]


@dataclass
class Read(HTMLParser):
    """The elements of a page: the text of each script, the attributes of all, and what is read without JavaScript."""

    html: str
    scripts: dict[str, str] = field(default_factory=dict)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.within = ("", "")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.within = (tag, dict(attrs).get("id") or f"{tag}-{len(self.scripts)}")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.within = ("", "")

    def handle_data(self, data: str) -> None:
        if self.within[0] in ("script", "style"):
            self.scripts[self.within[1]] = self.scripts.get(self.within[1], "") + data
        else:
            self.text += data

    @property
    def meta(self) -> Any:
        return json.loads(self.scripts["meta"])

    def chunk(self, slice: int, grain: int) -> Any:
        return unpacked(self.scripts[f"chunk-{slice}-{grain}"])


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Twelve days of predictions in three sites, one day without any; the second run restates the last days."""
    scenario = Scenario(tmp_path_factory.mktemp("model"), WORLD)
    rows, known = [], []
    for number in range(12 * 24):
        if number // 24 == 4:
            continue
        for place, site in enumerate(SITES):
            id, time = f"{number}-{place}", START + number * HOUR
            score = (number * 7 + place * 13) % 100 / 100
            rows.append(Prediction(id, time, score, {"site": site}))
            delay = (30 if number > 260 and number % 4 == 0 else 2) * HOUR
            known.append(Feedback(id, time + delay, float(number % 3 > 0)))
    scenario.log_predictions("p.parquet", rows)
    scenario.log_feedback("f.parquet", [row for row in known if int(row.id.split("-")[0]) % 5])
    tree = config_of(WORLD, scenario.root) | {"slis": SLIS, "model": f"<b>{HOSTILE}"}
    (scenario.root / "c.yaml").write_text(yaml.safe_dump(tree))
    for as_of in (12 * DAY, 14 * DAY):
        sli.run(scenario.root / "c.yaml", as_of=pd.Timestamp(START + as_of, unit="us", tz="UTC").isoformat())
    return scenario


@pytest.fixture(scope="module")
def config(scenario: Scenario) -> Path:
    return scenario.root / "c.yaml"


@pytest.fixture(scope="module")
def gathered(config: Path) -> Contents:
    found = contents.gathered(load_config(config))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def page(gathered: Contents) -> Read:
    return Read(rendered(gathered.config, gathered))


def test_every_series_of_the_page_is_that_of_the_tables(config: Path, page: Read) -> None:
    meta, results = page.meta, sli.read(config)
    results = results[results.window_start >= pd.Timestamp(START, unit="us", tz="UTC")]
    assert len(results) > 3000
    shown = 0
    for slice_at, slice in enumerate(meta["slices"]):
        for grain_at, grain in enumerate(meta["grains"]):
            chunk = page.chunk(slice_at, grain_at)
            own = results[(results.grain == grain["name"]) & (results["slice"] == slice["slice"])]
            for sli_at, one in enumerate(meta["slis"]):
                rows = own[own.sli == one["name"]].sort_values("window_end")
                shown += len(rows)
                check_series(chunk, chunk["slis"][sli_at], rows)
    assert shown == len(results)


def check_series(chunk: Any, series: Any, rows: pd.DataFrame) -> None:
    """A series of a chunk tells the same as these rows of results, but for rounding."""
    for name, column in (("start", "window_start"), ("end", "window_end")):
        assert np.cumsum(chunk[name]).tolist() == (rows[column].astype("int64") // 10**6).tolist()
    assert (chunk["predictions"], chunk["labelled"]) == (rows.predictions.tolist(), rows.labelled.tolist())
    assert chunk["final"] == "".join(str(int(maturity == "final")) for maturity in rows.maturity)
    letters = {"met": "m", "breached": "b", "undecided": "u"}
    assert series["verdict"] == "".join(letters.get(verdict, "-") for verdict in rows.verdict.where(rows.value.notna()))
    reasons = [series["reasons"][int(letter, 36)] if letter != "-" else None for letter in series["why"]]
    assert reasons == [reason if isinstance(reason, str) else None for reason in rows.reason]
    width = (rows.ci_high - rows.ci_low).to_numpy()
    assert close(series["value"], rows.value.to_numpy(), rows.value.abs().to_numpy() * 1e-3)
    assert close(series["low"], rows.ci_low.to_numpy(), width / 100)
    assert close(series["high"], rows.ci_high.to_numpy(), width / 100)
    nothing_missing = ((rows.missing_low == rows.value) & (rows.missing_high == rows.value)).to_numpy()
    bounds = np.where(nothing_missing, np.nan, rows.missing_low.to_numpy())
    assert close(series["missingLow"], bounds, (rows.missing_high - rows.missing_low).to_numpy() / 100)


def close(shown: list[float | None], values: Any, distance: Any) -> bool:
    """Whether a list of the page has these values; an empty list has none."""
    numbers = np.array(shown or [None] * len(values), np.float64)
    same = np.isnan(numbers) & np.isnan(values)
    return bool(np.all(same | (np.abs(numbers - values) <= distance + 1e-12)))


def test_the_meta_data_describe_what_the_indices_mean(page: Read) -> None:
    meta = page.meta
    assert [one["name"] for one in meta["slis"]] == ["recall", "accuracy", "feedback_delay"]
    assert [one["unit"] for one in meta["slis"]] == ["", "", "s"]
    assert meta["slis"][0]["objective"] == {"op": ">=", "bound": 0.4}
    assert meta["slices"][0] == {"name": "all", "by": [], "slice": {}, "predictions": 11 * 24 * 3}
    assert {one["name"] for one in meta["slices"][1:]} == set(SITES)
    assert [one["label"] for one in meta["grains"]] == ["hours", "days", "all since 2024-03-08", "2d, every day"]
    assert meta["first"] == {"sli": 0, "slice": 0, "grain": 1, "range": "60d"}
    assert (meta["since"], meta["newest"]) == (START // 1000, (START + 12 * DAY) // 1000)


def test_cards_and_headline_are_those_of_the_standing(config: Path, page: Read) -> None:
    now = sli.query(config, "recall", start="2024-03-13T01:00", end="2024-03-20T01:00").iloc[0]
    assert f"{now.value:.4g}" in page.text
    assert f"recall {now.value:.4g}, as required (at least 0.4)" in " ".join(page.text.split())
    cards = [attributes for tag, attributes in page.tags if attributes.get("class") == "card"]
    assert [card["data-sli"] for card in cards] == ["0", "1", "2"]
    assert sum(tag == "template" for tag, _ in page.tags) == 2


def test_changes_are_those_of_the_last_run(config: Path, page: Read) -> None:
    revisions = sli.read(config, table="revisions")
    last = revisions[(revisions.sequence == 2) & (revisions.cause != "matured")]
    causes = last.cause.value_counts()
    for cause, count in causes.items():
        assert f"{count:,} because of {cause}" in page.text
    restated = last[(last.change == "changed") & (last.value != last.old_value) & last.old_value.notna()]
    row = restated[(restated.grain == "day") & (restated.sli == "accuracy") & (restated["slice"].map(len) == 0)].iloc[0]
    chunk = page.chunk(0, 1)
    place = np.cumsum(chunk["end"]).tolist().index(int(row.window_end.timestamp()))
    assert chunk["slis"][1]["old"][str(place)] == pytest.approx(row.old_value, rel=1e-6)
    assert chunk["slis"][1]["value"][place] == pytest.approx(row.value, rel=1e-6)


def test_names_from_logs_and_config_are_text(page: Read) -> None:
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert all(attributes.get("type") == "application/json" for attributes in scripts[:-2])
    assert page.text.count("alert(1)") >= 2, "the name of the model and of a slice are read as they are"
    assert "alert(1)" not in "".join(text for name, text in page.scripts.items() if name != "meta")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_the_policy_allows_these_scripts_and_styles_and_nothing_else(page: Read) -> None:
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy is not None
    own = [text for name, text in page.scripts.items() if name.startswith(("script-", "style-"))]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in own}
    assert len(hashes) == 3
    assert set(re.findall(r"'sha256-[^']+'", policy)) == hashes
    assert re.sub(r" 'sha256-[^']+'", "", policy) == "default-src 'none'; style-src; img-src data:; script-src"


def test_the_same_publication_gives_the_same_page_however_it_is_read(
    config: Path, page: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sli.report.rows.BATCH", 500)
    loaded = load_config(config)
    assert rendered(loaded, contents.gathered(loaded)) == page.html


def history(gathered: Contents) -> tuple[list[Slice], History]:
    """The slices of the page and their history, read anew."""
    publication = opened(gathered.config)
    slices = chosen_slices(publication, gathered.standing.slis[0].now.start.to_pydatetime())
    names, restated = [one.sli for one in gathered.standing.slis], gathered.changes.restated
    return slices, history_of(publication, names, slices, gathered.grains, restated)


def test_many_slices_have_history_where_they_are_worst_or_largest_and_else_their_newest_window(
    config: Path, gathered: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sli.report.choice.WORST", 1)
    monkeypatch.setattr("sli.report.choice.LARGEST", 1)
    slices, shown = history(gathered)
    newest, with_history = unpacked(shown.newest), {slice for slice, _ in shown.chunks}
    assert len(slices) == 4
    assert with_history == {at for at, slice in enumerate(slices) if slice.history} == {*range(len(with_history))}
    assert newest["slice"] == [at for at in range(4) if at not in with_history]
    day = sli.read(config, grain="day", sli="recall", slice=slices[newest["slice"][0]].values).iloc[-1]
    assert (newest["grain"], newest["slis"][0]["value"][0]) == (1, pytest.approx(day.value, rel=1e-3))
    assert np.cumsum(newest["end"])[0] == int(day.window_end.timestamp())


def test_what_does_not_fit_is_left_out_the_whole_last(gathered: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {key: text for key, text in gathered.history.chunks.items() if key[0] == 0}
    monkeypatch.setattr("sli.report.history.BYTES", sum(map(len, whole.values())))
    assert history(gathered)[1].chunks == whole
    monkeypatch.setattr("sli.report.history.ROWS", 1)
    assert history(gathered)[1].chunks == whole


def test_all_of_a_page_is_of_one_publication_whatever_is_published_meanwhile(config: Path) -> None:
    with faulty() as storage:
        assert contents.gathered(load_config(config))
    assert storage.names.count("open results") == 1, "the store is opened again"


def test_the_page_is_written_whole_or_not_at_all(
    gathered: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sli.report.page.gathered", lambda *_: gathered)
    path = tmp_path / "out" / "report.html"
    written = write_report(gathered.config, path)
    assert path.stat().st_size == written.bytes
    assert re.fullmatch(r".*report\.html: 0\.\d MB, made in \d+\.\d s", written.line)
    old = path.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_report(gathered.config, path)
    assert path.read_bytes() == old
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


@pytest.fixture
def unpublished(scenario: Scenario, tmp_path: Path) -> Path:
    """The config of a model without a run."""
    tree = config_of(WORLD, scenario.root) | {"store": str(tmp_path / "store")}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "c.yaml"


@pytest.mark.parametrize(("place", "problem"), [("", "this is a folder"), ("c.yaml/report.html", "cannot be written")])
def test_a_place_that_holds_no_page_is_told(unpublished: Path, place: str, problem: str) -> None:
    with pytest.raises(SliError, match=problem):
        write_report(unpublished, f"{unpublished.parent}/{place}")


def test_before_the_first_run_the_page_says_what_to_do_and_why_the_run_failed_without_secrets(
    unpublished: Path,
) -> None:
    keep_secret("pa55word-of-the-store")
    failure = "The last run failed: s3://me:pa55word-of-the-store@host is away <b>"
    path = unpublished.parent / "report.html"
    assert write_report(unpublished, path, failure=failure).standing is None
    page = Read(path.read_text())
    assert [attributes["class"] for _, attributes in page.tags if attributes.get("role") == "note"] == ["banner"]
    assert "The last run failed: s3://***@host is away <b>" in page.text
    assert "pa55word" not in page.html
    assert "Nothing published yet" in page.text
    assert "sli run CONFIG" in page.text
    assert not (unpublished.parent / "store").exists()


def test_an_index_has_the_worst_first_and_a_wrong_config_stops_no_other(
    config: Path, gathered: Contents, unpublished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sli.report.page.gathered", lambda config, _: gathered if config == gathered.config else None)
    wrong = Model(Path("wrong.yaml"), ConfigError("the number is out of range"))
    models = [Model(unpublished, load_config(unpublished)), Model(config, gathered.config), wrong]
    told = list[str]()
    pages = write_reports(models, f"{unpublished.parent}/pages", lambda page: told.append(page.state))
    assert told == ["nothing published", "met", "no page"]
    index = Read((unpublished.parent / "pages" / "index.html").read_text())
    assert re.findall(r"no page|nothing published|met", index.text) == ["no page", "nothing published", "met"]
    assert "the number is out of range" in index.text
    links = [str(attributes["href"]) for tag, attributes in index.tags if tag == "a"]
    assert [unquote(link) for link in links] == [pages.models[0].file, pages.models[1].file]
    assert all((unpublished.parent / "pages" / unquote(link)).is_file() for link in links)
