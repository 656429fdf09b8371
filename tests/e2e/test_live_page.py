"""The page of `sli serve` in a real browser: it switches views, shows earlier beliefs, and follows new runs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
import yaml
from axe_playwright_python.sync_playwright import Axe
from builders import config_tree
from playwright.sync_api import Browser, Page, expect

import sli
from sli.config.several import load_models
from sli.serve.application import application
from sli.serve.models import served_models
from sli.serve.server import listening

ZONED = pa.timestamp("us", tz="UTC")
FIRST = datetime(2024, 3, 1, tzinfo=UTC)
DAYS = 4


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four days of two slices; each third label comes after 30 hours. Published twice."""
    folder = tmp_path_factory.mktemp("live")
    times = [FIRST + timedelta(hours=hour // 2) for hour in range(DAYS * 48)]
    ids = [str(place) for place in range(len(times))]
    known = [time + timedelta(hours=30 if place % 3 == 0 else 1) for place, time in enumerate(times)]
    scores, sites = (
        [place % 7 / 7 for place in range(len(times))],
        ["JFK" if place % 2 else "LGA" for place in range(len(times))],
    )
    logs = {
        "predictions": {"output_id": ids, "predicted_at": pa.array(times, ZONED), "score": scores, "site": sites},
        "feedback": {
            "output_id": ids,
            "known_at": pa.array(known, ZONED),
            "label": [place % 5 // 2 % 2 for place in range(len(times))],
        },
    }
    for name, columns in logs.items():
        (folder / name).mkdir()
        pq.write_table(pa.table(columns), folder / name / "a.parquet")
    path = folder / "sli.yaml"
    tree = config_tree(
        model="live",
        since="2024-03-01",
        horizon="2d",
        slice_by=[[], ["site"]],
        grains=["hour", "day"],
        slis=["accuracy", "recall"],
    )
    path.write_text(yaml.safe_dump(tree))
    for days in (DAYS - 1, DAYS):
        sli.run(path, as_of=FIRST + timedelta(days=days))
    return path


@pytest.fixture(scope="module")
def address(config: Path) -> Iterator[str]:
    """Where the model is served, by a thread of this process."""
    with listening(0) as listener:
        settings = uvicorn.Config(
            application(served_models(load_models([str(config)])[0])), log_level="warning", ws="none"
        )
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/live/"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page without errors."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    page, errors = context.new_page(), list[str]()
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def readout(page: Page, said: str) -> None:
    expect(page.locator("#readout")).to_contain_text(said)


def test_another_slice_is_fetched_and_has_its_address(page: Page, address: str, config: Path) -> None:
    page.goto(address)
    readout(page, "2024-03-04")
    page.locator("#controls [name=slice]").select_option(label="JFK")
    row = sli.read(config, sli="accuracy", grain="day", slice={"site": "JFK"}).sort_values("window_end").iloc[-1]
    readout(page, f"accuracy {row.value:.4g} ")
    assert "slice=JFK&by=site" in page.url


def test_windows_of_any_size_by_address(page: Page, address: str, config: Path) -> None:
    page.goto(f"{address}?sli=recall&size=2d&every=1d")
    row = sli.query(config, "recall", size="2d", every="1d", slice={}).sort_values("window_end").iloc[-1]
    readout(page, f"recall {row.value:.4g} ")
    expect(page.locator("#chart-title")).to_have_text("recall · 2d, every 1d · the whole")


def test_an_earlier_belief_says_so(page: Page, address: str) -> None:
    then = FIRST + timedelta(days=DAYS - 1)
    page.goto(f"{address}?sli=recall&grain=day&as_of={then:%Y-%m-%dT%H:%M}")
    readout(page, "2 predictions, 0% labelled")
    expect(page.locator(".banner", has_text="As believed at")).to_have_text(
        f"As believed at {then:%Y-%m-%d %H:%M}: show now"
    )
    expect(page.locator("#now-title")).to_have_text("How good was it then, and was that as required?")
    field = page.locator("#controls [name=as_of]")
    expect(field).to_have_value(f"{then:%Y-%m-%d %H:%M}")
    assert field.evaluate("field => field.scrollWidth <= field.clientWidth"), "the time is not cut"
    page.get_by_role("link", name="show now").click()
    readout(page, "48 predictions")
    assert "as_of" not in page.url
    assert "sli=recall" in page.url
    expect(page.locator("#now-title")).to_have_text("How good is it now, and is that as required?")


def test_a_new_run_is_told(page: Page, address: str, config: Path) -> None:
    page.clock.install()
    page.goto(address)
    readout(page, "2024-03-04")
    expect(page.locator("#news")).to_be_hidden()
    sli.run(config, as_of=FIRST + timedelta(days=DAYS + 1))
    page.clock.fast_forward(31_000)
    expect(page.locator("#news")).to_contain_text("A new run is published")


def test_axe_finds_nothing_in_the_dark(browser: Browser, address: str) -> None:
    context = browser.new_context(color_scheme="dark", bypass_csp=True)
    page = context.new_page()
    page.goto(f"{address}?as_of=2024-03-05T00:00")
    readout(page, "2024-03-0")
    violations = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == []
    context.close()


CONTROLS = "select, input, button, summary, a[href], [tabindex='0']"


def test_the_keyboard_reaches_every_control(page: Page, address: str) -> None:
    page.goto(address)
    readout(page, "2024-03-0")
    page.locator("#controls summary").click()
    page.locator("body").evaluate("() => document.activeElement.blur()")
    wanted = page.locator(CONTROLS).evaluate_all(
        """nodes => nodes
        .filter(node => node.checkVisibility() && !node.disabled && (node.type !== "radio" || node.checked))
        .map((node, place) => { node.dataset.place = place; return place; })"""
    )
    reached = set()
    for _ in range(2 * len(wanted)):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.dataset.place"))
    assert {str(place) for place in wanted} <= reached
    assert re.search("grain=hour", press_left(page)), "arrow keys choose among radio buttons"


def press_left(page: Page) -> str:
    """The address after the radio button to the left is chosen."""
    page.locator("#controls [name=grain]:checked").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**grain=hour**")
    return page.url
