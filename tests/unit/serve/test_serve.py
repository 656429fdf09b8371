"""The live page: the routes, what is refused, and that its numbers are those of `query` and `read`."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text
from starlette.testclient import TestClient

import sli
from sli.command.cli import main
from sli.config.several import load_models
from sli.errors import ConfigError
from sli.reading.question import question
from sli.serve import models
from sli.serve.application import application
from sli.serve.models import served_models
from sli.serve.server import listening

START = at("2024-03-08T00:00")
WORLD = small_world(
    horizon=3 * DAY, since=START, slice_by=((), ("a",)), grains=("hour", "day"), slis=("accuracy", "recall")
)
FIRST, SECOND = START + 2 * DAY, START + 4 * DAY
EVIL = "<script>alert(1)</script>"


def logged(root: Path) -> Scenario:
    """Two days of predictions of two slices, one with a name that is a script."""
    scenario = Scenario(root, WORLD)
    rows = [Prediction(f"{i}", START + i * HOUR, i % 7 / 7, {"a": ("x", EVIL)[i % 2]}) for i in range(48)]
    scenario.log_predictions("a.parquet", rows)
    scenario.log_feedback("a.parquet", [Feedback(f"{i}", START + DAY + i * HOUR, float(i % 3 == 0)) for i in range(9)])
    (root / "config.yaml").write_text(json.dumps(config_of(WORLD, root)))
    return scenario


def run_again(scenario: Scenario) -> None:
    scenario.log_feedback("b.parquet", [Feedback(f"{i}", FIRST + HOUR, float(i % 2)) for i in range(5, 20)])
    scenario.run(SECOND)


def client_of(*configs: Path) -> TestClient:
    site = application(served_models(load_models([*map(str, configs)])[0]))
    return TestClient(site, base_url="http://127.0.0.1:8787", raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    scenario = logged(tmp_path_factory.mktemp("serve"))
    scenario.run(FIRST)
    run_again(scenario)
    return scenario


@pytest.fixture(scope="module")
def client(twice: Scenario) -> TestClient:
    return client_of(twice.root / "config.yaml")


def chunk(client: TestClient, **view: str) -> dict[str, Any]:
    answer = client.get("/test/data", params=view)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_the_page_describes_the_model_and_where_its_data_is(client: TestClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/test/")
    page = client.get("/test/")
    assert page.status_code == 200
    meta = json.loads(page.text.partition('id="meta">')[2].partition("</script>")[0])
    assert meta["live"]["data"] == "/test/data"
    health = client.get("/test/healthz").json()
    assert meta["live"]["run"] == health["run"]
    assert health["age_seconds"] > (datetime.now(UTC) - datetime.fromisoformat(health["as_of"])).total_seconds() - 60
    assert EVIL not in page.text
    assert 'class="chunk"' not in page.text
    policy = page.headers["content-security-policy"]
    for part in ("default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "script-src 'sha256-"):
        assert part in policy


def test_published_windows_are_those_of_read(client: TestClient, twice: Scenario) -> None:
    for grain in ("hour", "day"):
        for name, by, slice in (("", "", {}), ("x", "a", {"a": "x"}), (EVIL, "a", {"a": EVIL})):
            found = chunk(client, grain=grain, **({"slice": name, "by": by} if by else {}))
            rows = sli.read(twice.config, sli="accuracy", grain=grain, slice=slice)
            assert np.cumsum(found["end"]).tolist() == [end.timestamp() for end in rows.window_end]
            assert found["predictions"] == rows.predictions.tolist()
            values = [np.nan if value is None else value for value in found["slis"][0]["value"]]
            np.testing.assert_allclose(values or [np.nan] * len(rows), rows.value, rtol=1e-3)


@pytest.mark.parametrize("as_of", [None, FIRST])
def test_windows_of_any_size_are_those_of_query(client: TestClient, twice: Scenario, as_of: int | None) -> None:
    view = {"size": "6h", "every": "3h", "slice": "x", "by": "a"} | ({"as_of": text(as_of)} if as_of else {})
    found = chunk(client, **view)
    known = text(as_of) if as_of else None
    rows = sli.query(twice.config, "accuracy", size="6h", every="3h", slice={"a": "x"}, as_of=known)
    assert np.cumsum(found["start"]).tolist() == [start.timestamp() for start in rows.window_start]
    assert found["labelled"] == rows.labelled.tolist()
    values = [np.nan if value is None else value for value in found["slis"][0]["value"]]
    np.testing.assert_allclose(values, rows.value, rtol=1e-3)
    assert chunk(client, **{**view, "grain": "6h/3h", "size": "", "every": ""}) == found


def test_what_was_believed_then_is_another_page(client: TestClient, twice: Scenario) -> None:
    now, then = (chunk(client, grain="day", **view) for view in ({}, {"as_of": text(FIRST)}))
    assert sum(then["labelled"]) < sum(now["labelled"])
    rows = sli.read(twice.config, sli="accuracy", grain="day", slice={}, as_of=text(FIRST))
    assert then["labelled"] == rows.labelled.tolist()
    assert client.get("/test/", params={"as_of": text(FIRST)}).status_code == 200


def test_a_view_reads_without_scripts(client: TestClient, twice: Scenario) -> None:
    view = {"sli": "recall", "slice": "x", "size": "12h", "every": "6h", "as_of": text(FIRST)}
    page = client.get("/test/", params=view).text
    table = page.partition("<noscript>")[2].partition("</noscript>")[0]
    rows = sli.query(twice.config, "recall", size="12h", every="6h", slice={"a": "x"}, as_of=text(FIRST))
    assert table.count('<th scope="row">') == len(rows)
    newest = rows.iloc[-1]
    assert f"{newest.labelled:,} of {newest.predictions:,}" in table
    assert "<option selected>recall</option>" in table
    assert 'name="size" size="6" value="12h"' in table


def test_form_and_chart_of_a_view_merge_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def merged(publication: Any, windows: Any, slice: Any) -> Any:
        asked.append(windows[0])
        return question(publication, windows, slice)

    monkeypatch.setattr("sli.serve.windows.question", merged)
    client.get("/test/", params={"sli": "recall", "size": "8h", "every": "4h"})
    chunk(client, sli="recall", slice="all", by="", grain="8h/4h")
    assert asked == ["8h"]


def test_start_and_end_choose_windows(client: TestClient) -> None:
    found = chunk(client, grain="hour", start=text(START + 5 * HOUR), end=text(START + 9 * HOUR))
    assert np.cumsum(found["start"]).tolist() == [(START + hour * HOUR) // 1_000_000 for hour in (5, 6, 7, 8)]


def test_a_judgement_is_the_fragment_of_the_page(client: TestClient) -> None:
    answer = client.get("/test/judgement", params={"sli": "recall", "slice": "x", "by": "a"})
    assert answer.status_code == 200
    assert "Is the change real" in answer.text
    assert "Chance?" in answer.text


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/nope/", 404, "expected: a model: test"),
        ("/test", 307, ""),
        ("/test/../../etc/passwd", 404, "there is no such page"),
        ("/%2e%2e%2fetc%2fpasswd", 404, "there is no such page"),
        ("/test/static/page.js", 404, "there is no such page"),
        ("/x' OR '1'='1/", 404, "there is no such page"),
        ("/test/data?slice=x' OR '1'='1&by=a", 400, "there is no such slice"),
        ("/test/data?slice=x&by=", 400, "expected: by=a"),
        ("/test/data?slice=x&by=b", 400, "expected: by=a"),
        ("/test/data?grain=day&sli=nosuch", 400, "there is no SLI 'nosuch'"),
        ("/test/nope", 404, "of this model: /, data, judgement, healthz"),
        ("/test/data?slice=y&by=a,b", 400, "there is no such slice"),
        ("/test/data?grain=dya", 400, "did you mean 'day'"),
        ("/test/data?size=1h&start=1900-01-01", 400, "too many windows"),
        ("/test/data?size=six", 400, "size is not a duration"),
        ("/test/data?size=400d", 400, "no window fits"),
        ("/test/data?start=tomorrow", 400, "start"),
        ("/test/data?size=" + "9" * 600, 400, "size is too long"),
        ("/test/judgement?sli=acuracy", 400, "did you mean 'accuracy'"),
        ("/test/?as_of=2000-01-01", 400, "the as_of of the first run"),
        ("/test/?as_of=yesterday", 400, "as_of"),
    ],
)
def test_a_wrong_question_is_told_in_words(client: TestClient, path: str, status: int, message: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert message in answer.text
    assert "Traceback" not in answer.text


def test_an_error_is_a_page_to_a_browser_and_json_to_a_program(client: TestClient) -> None:
    page = client.get("/nope/", headers={"Accept": "text/html,*/*"})
    assert "<h1>there is no such page</h1>" in page.text
    plain = client.get("/nope/", headers={"Accept": "application/json"})
    assert plain.json()["error"]["what"] == "there is no such page"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost:1@evil", "", "10.0.0.1"])
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/test/data", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "[::1]:8787", "LOCALHOST"])
def test_this_machine_is_answered(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_only_reads(client: TestClient, method: str) -> None:
    assert client.request(method, "/test/data").status_code == 405
    assert client.head("/test/").status_code == 200


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for path in ("/test/", "/test/data", "/healthz", "/nope/"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
    assert client.get("/test/").headers["content-encoding"] == "gzip"


def test_a_mistake_of_ours_shows_no_traceback(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sli.serve.application.view_of", lambda _: 1 / 0)
    answer = client.get("/test/data")
    assert answer.status_code == 500
    assert "a mistake in sli" in answer.text
    assert "ZeroDivision" not in answer.text


def test_an_empty_store_says_so_and_its_first_run_and_the_next_appear(tmp_path: Path) -> None:
    scenario = logged(tmp_path)
    client = client_of(tmp_path / "config.yaml")
    assert "Nothing published yet" in client.get("/test/").text
    assert client.get("/test/data").status_code == 503
    assert client.get("/healthz").json()["models"][0]["problem"] == "nothing published yet"
    scenario.run(FIRST)
    first = chunk(client, grain="day")
    run = client.get("/test/healthz").json()["run"]
    run_again(scenario)
    assert sum(chunk(client, grain="day")["labelled"]) > sum(first["labelled"])
    assert client.get("/test/healthz").json()["run"] != run


def test_of_several_models_one_that_fails_says_why_and_the_others_work(twice: Scenario, tmp_path: Path) -> None:
    tree = config_of(WORLD, tmp_path)
    secret = "hunter2-secret"
    (tmp_path / "b.yaml").write_text(json.dumps(tree | {"model": "other", "slis": ["acuracy"]}))
    store = f"s3://user:{secret}@nowhere/x"
    (tmp_path / "c.yaml").write_text(json.dumps(tree | {"model": "away", "store": store}))
    client = client_of(twice.root / "config.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml")
    index = client.get("/")
    assert index.status_code == 200
    assert index.text.index("b.yaml") < index.text.index('href="test/"')
    assert client.get("/test/").status_code == 200
    broken = re.findall(r'<h2><a href="([^"]*)"', index.text)[0]
    assert "acuracy" in client.get(f"/{broken}").text
    health = client.get("/healthz")
    assert health.status_code == 503
    assert [model["ok"] for model in health.json()["models"]] == [True, False, False]
    assert 'sli_last_run_timestamp_seconds{model="test"}' in client.get("/metrics").text
    assert secret not in health.text + index.text


def test_a_port_in_use_names_one_that_is_free(twice: Scenario, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is in use") as error:
            listening(port)
        free = int(error.value.todo.split()[1].rstrip(","))
        assert free > port
        assert main(["serve", str(twice.root / "config.yaml"), "--port", str(port)]) == 2
        assert f"--port {free}" in capsys.readouterr().err
    assert main(["serve", str(twice.root / "config.yaml"), "--port", "70000"]) == 2


@pytest.fixture
def address(twice: Scenario) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command, at any free port."""
    command = [sys.executable, "-m", "sli.command.cli", "serve", str(twice.root / "config.yaml"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield line.partition(" at ")[2].partition(",")[0], process
        finally:
            process.kill()


def test_the_command_serves_until_it_is_interrupted(address: tuple[str, subprocess.Popen[str]]) -> None:
    url, process = address
    with urllib.request.urlopen(f"{url}test/data?grain=day", timeout=60) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="421"):
        urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "evil.example"}), timeout=60)
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    assert host == "127.0.0.1"
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", int(port)))
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert rest == ""


def test_prometheus_scrapes_the_newest_windows_of_all_models(
    client: TestClient, twice: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["export", "prometheus", str(twice.root / "config.yaml")]) == 0
    answer = client.get("/metrics")
    assert answer.text == capsys.readouterr().out
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert client.get("/metrics", headers={"Host": "evil.example"}).status_code == 421


def test_a_scrape_reads_the_store_only_after_a_new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = logged(tmp_path)
    client = client_of(tmp_path / "config.yaml")
    assert client.get("/metrics").text == "", "before the first run"
    scenario.run(FIRST)
    first = client.get("/metrics").text
    with monkeypatch.context() as patch:
        patch.setattr(models, "metrics_of", lambda _: pytest.fail("made again"))
        assert client.get("/metrics").text == first
    run_again(scenario)
    assert client.get("/metrics").text != first
