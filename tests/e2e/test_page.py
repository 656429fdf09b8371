"""The page in a real browser: what it draws, reads out and allows, and that its figures are those of the tables."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from builders import config_tree
from playwright.sync_api import Browser, BrowserContext, Page, expect

import sli
from sli.config.load import load_config
from sli.config.several import Model
from sli.errors import ConfigError
from sli.report.index import write_reports
from sli.report.page import write_report

ZONED = pa.timestamp("us", tz="UTC")
HOSTILE = ["<script>document.title = 'x'</script>", "a\"b'&amp;</script>", "日本"]
SITES = ["JFK", *HOSTILE]
FIRST = datetime(2013, 10, 20, 4, tzinfo=UTC)
"""Midnight in New York; on November 3 clocks go back, so that day has 25 hours."""
DAYS = 40
EMPTY, WITHOUT_POSITIVES = 10, 5
"""The day without predictions, and the one without positive labels."""


def write_logs(folder: Path) -> None:
    """Forty days of predictions each third hour; of the last two days each fourth label comes with the second run."""
    rows = []
    for day in range(DAYS):
        for hour in range(0, 24, 3):
            at = FIRST + timedelta(days=day, hours=hour)
            for place, site in enumerate(SITES if day != EMPTY else []):
                number = (day * 31 + hour * 7 + place * 13) % 100
                late = day >= DAYS - 2 and number % 4 == 0
                label = 0 if day == WITHOUT_POSITIVES else int(number % 3 > 0)
                rows.append(
                    (f"{day}-{hour}-{place}", at, number / 100, site, at + timedelta(hours=60 if late else 2), label)
                )
    ids, times, scores, sites, known, labels = zip(*rows, strict=True)
    predictions = {"output_id": ids, "predicted_at": pa.array(times, ZONED), "score": scores, "site": sites}
    feedback = {"output_id": ids, "known_at": pa.array(known, ZONED), "label": labels}
    for name, columns in (("predictions", predictions), ("feedback", feedback)):
        (folder / name).mkdir()
        pq.write_table(pa.table(columns), folder / name / "a.parquet")


def write_config(folder: Path, **changes: Any) -> Path:
    config = folder / "sli.yaml"
    config.write_text(yaml.safe_dump(config_tree(**changes)))
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of forty days, published by two runs; the second restates the last days."""
    folder = tmp_path_factory.mktemp("model")
    write_logs(folder)
    config = write_config(
        folder,
        model="late & <b>bold</b>",
        timezone="America/New_York",
        since="2013-10-20",
        horizon="4d",
        slice_by=[[], ["site"]],
        grains=["hour", "day", {"size": "7d", "every": "1d"}],
        slis=["accuracy", {"sli": "recall", "objective": ">= 0.4"}, {"sli": "feedback_delay", "q": 0.9}],
    )
    for as_of in (FIRST + timedelta(days=DAYS), FIRST + timedelta(days=DAYS + 1, hours=22)):
        sli.run(config, as_of=as_of)
    return config


@pytest.fixture(scope="module")
def report(config: Path) -> Path:
    path = config.parent / "report.html"
    write_report(config, path)
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a model with a thousand slices."""
    folder = tmp_path_factory.mktemp("many")
    times = [FIRST + timedelta(days=day) for day in range(2) for _ in range(1000)]
    ids = [str(i) for i in range(len(times))]
    predictions = {
        "output_id": ids,
        "predicted_at": pa.array(times, ZONED),
        "score": [i % 7 / 7 for i in range(len(times))],
        "site": [f"shop {i % 1000:04d}" for i in range(len(times))],
    }
    feedback = {"output_id": ids, "known_at": pa.array(times, ZONED), "label": [i % 2 for i in range(len(times))]}
    for name, columns in (("predictions", predictions), ("feedback", feedback)):
        (folder / name).mkdir()
        pq.write_table(pa.table(columns), folder / name / "a.parquet")
    config = write_config(folder, since="2013-10-20", slice_by=[[], ["site"]], grains=["day"], slis=["accuracy"])
    sli.run(config, as_of=FIRST + timedelta(days=2))
    write_report(config, folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def index(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a model, of one that has published nothing, and of one whose config is wrong."""
    folder = tmp_path_factory.mktemp("reports")
    empty = write_config(tmp_path_factory.mktemp("empty"), model="new")
    models = [
        Model(config, load_config(config)),
        Model(empty, load_config(empty)),
        Model(Path("x.yaml"), ConfigError("bad")),
    ]
    write_reports(models, str(folder), lambda page: None)
    return folder / "index.html"


class Opened:
    """A page, with what it logged and asked for."""

    def __init__(self, context: BrowserContext, path: Path, view: str = "") -> None:
        self.page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri() + view)

    @property
    def readout(self) -> str:
        return self.page.locator("#readout").inner_text()

    def drawn(self) -> Page:
        """The page once its chart is drawn."""
        self.page.wait_for_selector("#chart .line, #chart .dot, #chart .breach", state="attached")
        return self.page


@pytest.fixture(scope="module")
def desktop(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def opened(desktop: BrowserContext, report: Path) -> Opened:
    """The page as it opens; tests that choose another view open one of their own."""
    opened = Opened(desktop, report)
    opened.drawn()
    return opened


def days_of(config: Path, name: str) -> list[Any]:
    return list(sli.read(config, sli=name, grain="day", slice={}).sort_values("window_end").itertuples())


def test_it_renders_without_an_error_and_asks_for_nothing(opened: Opened, report: Path) -> None:
    assert opened.errors == []
    assert opened.requests == [report.as_uri()]
    assert opened.page.locator("#chart path.line").count() == 2
    assert opened.page.locator("#figures figure svg[role=img]").count() == 3
    assert opened.page.title().startswith("late & <b>bold</b>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, report: Path, index: Path, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = Opened(context, report).drawn()
    page.locator("#table summary").click()
    page.wait_for_selector("#table table")
    for checked in (page, Opened(context, index).page):
        violations = Axe().run(checked).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == []
    context.close()


def test_the_readout_of_each_window_is_the_row_of_the_table(
    desktop: BrowserContext, config: Path, report: Path
) -> None:
    opened = Opened(desktop, report, "#sli=recall&grain=day&range=all")
    page, rows = opened.drawn(), days_of(config, "recall")
    page.locator("#chart").focus()
    page.keyboard.press("Home")
    for row in rows:
        said = opened.readout
        assert f"{row.window_start.tz_convert('America/New_York'):%Y-%m-%d}" in said
        if row.reason is None or row.reason != row.reason:
            assert float(re.search(r"recall ([\d.]+)", said)[1]) == pytest.approx(row.value, abs=5e-5)
            low, high = map(float, re.search(r"interval ([\d.]+) \.\. ([\d.]+)", said).groups())
            assert (low, high) == pytest.approx((row.ci_low, row.ci_high), abs=2e-3)
            assert row.verdict in said
        else:
            assert f"no value ({row.reason})" in said
            assert "undecided" not in said
        assert f"{row.predictions} prediction" in said
        assert row.maturity in said
        page.keyboard.press("ArrowRight")
    assert opened.readout == said, "the last window stays when there is none after it"
    page.keyboard.press("ArrowLeft")
    assert opened.readout != said


def test_a_restated_window_says_its_old_value(desktop: BrowserContext, config: Path, report: Path) -> None:
    opened = Opened(desktop, report, "#sli=accuracy&grain=day&range=all")
    page = opened.drawn()
    assert page.locator("#chart .restated").count() == 1
    revisions = sli.read(config, table="revisions", sli="accuracy", grain="day", slice={}, start="2013-11-27")
    newest = revisions[revisions.change == "changed"].sort_values("window_end").iloc[-1]
    page.locator("#chart").focus()
    page.keyboard.press("End")
    old, new = map(float, re.search(r"restated by the last run: ([\d.]+) -> ([\d.]+)", opened.readout).groups())
    assert (old, new) == pytest.approx((newest.old_value, newest.value), abs=5e-5)


def test_the_line_is_broken_where_a_value_or_a_window_is_missing(desktop: BrowserContext, report: Path) -> None:
    page = Opened(desktop, report, "#sli=recall&grain=day&range=all").drawn()
    # The day without predictions breaks it once, the one without positive labels once more.
    line = page.locator("#chart path.line:not(.provisional)").get_attribute("d")
    assert line is not None
    assert line.count("M") == 3
    assert page.locator("#chart .no-value").get_attribute("d").count("M") == 1


def test_many_narrow_windows_are_dots_and_the_line_of_seven_days_merged(
    browser: Browser, config: Path, report: Path
) -> None:
    context = browser.new_context(viewport={"width": 640, "height": 800})
    page = Opened(context, report, "#sli=accuracy&grain=hour&range=all").drawn()
    hours = sli.read(config, sli="accuracy", grain="hour", slice={})
    weeks = sli.read(config, sli="accuracy", grain="7d/1d", slice={})
    weeks = weeks[weeks.window_start >= "2013-10-20"]
    dots = "".join(node.get_attribute("d") or "" for node in page.locator("#chart .speck").all())
    assert dots.count("M") == len(hours)
    final, provisional = (page.locator(f"#chart .trend .line{kind}") for kind in (":not(.provisional)", ".provisional"))
    points = [len(re.findall("[ML]", node.get_attribute("d") or "")) for node in (final, provisional)]
    # The dashed line begins at the last final point.
    assert points == [(weeks.maturity == "final").sum(), (weeks.maturity != "final").sum() + 1]
    context.close()


def test_a_slice_of_the_judgement_leads_to_its_course(desktop: BrowserContext, report: Path) -> None:
    page = Opened(desktop, report).drawn()
    page.locator("#judgement table.slices").get_by_role("link", name="JFK").click()
    expect(page.locator("#chart-title")).to_have_text(re.compile("JFK$"))
    assert page.locator("#judgement td.dots .now").count() == len(SITES)


def test_the_days_of_the_axis_are_those_of_the_zone(desktop: BrowserContext, report: Path) -> None:
    page = Opened(desktop, report, "#grain=hour&range=2d&end=2013-11-04T05:00:00.000Z").drawn()
    texts = page.locator("#chart .axis text").all_text_contents()
    ticks = [text for text in texts if re.match(r"\d\d:\d\d", text)]
    # From November 2 to 4: 49 hours.
    assert [text for text in ticks if text.startswith("00:00")] == [
        "00:00Nov 2, 2013",
        "00:00Nov 3, 2013",
        "00:00Nov 4, 2013",
    ]


def test_an_address_restores_its_view_and_back_leads_to_the_view_before(desktop: BrowserContext, report: Path) -> None:
    opened = Opened(desktop, report, "#sli=feedback_delay&slice=JFK&by=site&grain=7d%2F1d&range=14d")
    page = opened.drawn()
    title = page.locator("#chart-title")
    assert re.match(r"feedback_delay · .* · JFK", title.inner_text())
    assert "feedback_delay 2 h" in opened.readout
    page.locator(".card", has_text="accuracy").click()
    expect(page.locator("#chart-title")).to_have_text(re.compile("^accuracy"))
    assert "sli=accuracy&slice=JFK" in page.url
    assert page.locator(".card[aria-pressed=true] .name").inner_text() == "accuracy"
    page.go_back()
    expect(page.locator("#chart-title")).to_have_text(re.compile("^feedback_delay"))


def test_the_index_leads_to_each_page(desktop: BrowserContext, index: Path) -> None:
    page = Opened(desktop, index).page
    titles = [" ".join(text.split()) for text in page.locator("li h2").all_inner_texts()]
    assert titles == ["x.yaml no page", "new nothing published", "late & <b>bold</b> ✓ met"]
    page.get_by_role("link", name="bold").click()
    page.wait_for_selector("#chart .line", state="attached")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_slices_are_text(desktop: BrowserContext, report: Path, name: str) -> None:
    opened = Opened(desktop, report)
    page = opened.drawn()
    page.locator("#controls [name=slice]").select_option(label=name)
    expect(page.locator("#chart-title")).to_have_text(re.compile(re.escape(name) + "$"))
    assert page.title() != "x"
    assert opened.errors == []


def test_the_table_has_the_windows_of_the_chart(desktop: BrowserContext, config: Path, report: Path) -> None:
    page = Opened(desktop, report, "#sli=accuracy&grain=day&range=all").drawn()
    assert page.locator("#table table").count() == 0, "made when it is opened"
    page.locator("#table summary").click()
    page.wait_for_selector("#table table")
    rows = page.locator("#table tbody tr").all_inner_texts()
    newest = days_of(config, "accuracy")[::-1]
    assert len(rows) == len(newest)
    for text, row in zip(rows, newest, strict=True):
        day, value, *_ = text.split("\t")
        assert day == f"{row.window_start.tz_convert('America/New_York'):%Y-%m-%d}"
        assert float(value) == pytest.approx(row.value, abs=5e-5)


def test_a_thousand_slices_are_searched_and_few_nodes(desktop: BrowserContext, many: Path) -> None:
    opened = Opened(desktop, many)
    page = opened.drawn()
    assert page.evaluate("document.querySelectorAll('*').length") <= 3000
    search = page.locator("#controls [name=slice]")
    search.fill("0777")
    search.press("Enter")
    expect(page.locator("#chart-title")).to_have_text(re.compile("shop 0777$"))
    assert "2013-10-2" in opened.readout
    page.locator("#controls [name=slice]").fill("nowhere")
    assert page.locator("#slice-options option").count() == 0
    assert opened.errors == []


def test_a_phone_does_not_scroll_sideways(browser: Browser, report: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = Opened(context, report).drawn()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()


def test_print_has_charts_and_no_controls(browser: Browser, report: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    page = Opened(context, report).drawn()
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("#chart").is_visible()
    assert not page.locator("#controls").is_visible()
    style = "getComputedStyle(document.body)"
    assert page.evaluate(f"[{style}.color, {style}.backgroundColor]") == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    context.close()


def test_without_javascript_it_reads(browser: Browser, config: Path, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = Opened(context, report).page
    text = page.locator("body").inner_text()
    for part in ("The last 7 days", "recall", "Chance?", "What changed since the run before?", "need JavaScript"):
        assert part in text
    assert not page.locator("#controls").is_visible()
    assert page.locator(".card .spark").count() == 3
    tables = {}
    for details in page.locator("noscript details").all():
        details.locator("summary").click()
        tables[details.locator("summary").inner_text()] = details.locator("tbody tr").all_inner_texts()
    windows, arrival, calibrated = tables.values()
    newest = days_of(config, "recall")[: -len(windows) - 1 : -1]
    assert len(windows) == 14
    for text, row in zip(windows, newest, strict=True):
        assert float(text.split("\t")[2]) == pytest.approx(row.value, abs=5e-5)
    # A label comes after 2 or after 60 hours, and none later than the horizon of 4 days.
    assert [text.split("\t")[1] for text in arrival][-1] == "100.0%"
    assert arrival[-1].startswith(("2 d 13 h", "3 d", "4 d"))
    assert calibrated
    context.close()


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_is_valid(report: Path, tmp_path: Path) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", report.read_text(), re.DOTALL)
    (tmp_path / "page.js").write_text(scripts[-1])
    subprocess.run(["node", "--check", tmp_path / "page.js"], check=True)


def luminance(colour: str) -> float:
    """The relative luminance of a colour `#rrggbb` (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast(report: Path, scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", report.read_text(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", block))
    for kinds, grounds, least in (
        (("text", "quiet", "blue", "orange", "red", "green"), ("ground", "raised", "hatch-ground", "hatch"), 4.5),
        (("coverage",), ("ground", "raised", "hatch-ground", "hatch"), 3),
        (("control",), ("ground", "raised"), 3),
    ):
        for kind in kinds:
            for ground in grounds:
                dark, bright = sorted(luminance(colours[name]) for name in (kind, ground))
                assert (bright + 0.05) / (dark + 0.05) >= least, (kind, ground)
