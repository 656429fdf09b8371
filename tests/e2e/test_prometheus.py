"""What a real Prometheus, node_exporter and promtool make of what sli exports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text
from servers import free_ports, node_exporter, prometheus, wait_for
from servers import process as started

import sli
from sli.command.cli import main

PROGRAMS = ("prometheus", "promtool", "prometheus-node-exporter")
START = at("2024-03-08T00:00")
ODD = 'q"uote\\ new\nline, 🛩'
LABEL = 'a="q\\"uote\\\\ new\\nline, 🛩"'
RUN = text(START + 40 * DAY)


@pytest.fixture(autouse=True)
def programs() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        told = f"not installed: {', '.join(missing)} (Debian: apt-get install prometheus prometheus-node-exporter)"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config with 40 days of predictions of two slices, one with an odd name, after a run."""
    root = tmp_path_factory.mktemp("prometheus")
    scenario = Scenario(root, small_world(horizon=DAY, since=START, slice_by=((), ("a",))))
    rows = [
        Prediction(f"{hour}", START + hour * HOUR, hour % 7 / 7, {"a": ("x", ODD)[hour % 2]}) for hour in range(40 * 24)
    ]
    scenario.log_predictions("a.parquet", rows)
    labels = [Feedback(row.id, (row.time or 0) + HOUR, float(i % 3 == 0)) for i, row in enumerate(rows)]
    scenario.log_feedback("a.parquet", labels)
    tree = config_of(scenario.world, root) | {"slis": ["accuracy", "log_loss"], "grains": ["hour", "day"]}
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True))
    assert main(["run", str(path), "--as-of", RUN]) == 0
    return path


def ask(address: str, path: str, **query: object) -> list[dict[str, Any]]:
    """What Prometheus answers."""
    url = f"{address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result


def until_scraped(address: str, query: str) -> list[dict[str, Any]]:
    """What Prometheus answers once it has scraped something."""
    deadline = time.monotonic() + 60
    while not (result := ask(address, "query", query=query)):
        assert time.monotonic() < deadline, f"no {query}"
        time.sleep(0.2)
    return result


def newest(config: Path, name: str) -> dict[str, float]:
    """By slice the newest daily value in the table."""
    days = sli.read(config, sli=name, grain="day")
    days = days[days.window_end == days.window_end.max()]
    return {
        ("all" if not row.slice else "a=x" if row.slice == {"a": "x"} else LABEL): row.value
        for row in days.itertuples()
    }


def values(result: list[dict[str, Any]]) -> dict[str, float]:
    return {series["metric"]["slice"]: float(series["value"][1]) for series in result}


def test_a_node_exporter_reads_the_file_and_a_prometheus_answers_with_the_values_of_the_table(
    config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "textfiles"
    folder.mkdir()
    assert main(["export", "prometheus", str(config), "--textfile", f"{folder}/"]) == 0
    with node_exporter(folder) as node, prometheus(tmp_path, {"node": node}) as address:
        assert values(until_scraped(address, 'sli_value_ratio{sli="accuracy",grain="day"}')) == newest(
            config, "accuracy"
        )
        assert values(ask(address, "query", query='sli_value{sli="log_loss",grain="day"}')) == newest(
            config, "log_loss"
        )
        assert [series["value"][1] for series in ask(address, "query", query="node_textfile_scrape_error")] == ["0"]
        [run] = ask(address, "query", query="sli_last_run_timestamp_seconds")
        assert float(run["value"][1]) == (START + 40 * DAY) / 1e6


def test_a_prometheus_scrapes_the_live_page(config: Path, tmp_path: Path) -> None:
    log, [port] = tmp_path / "serve.log", free_ports(1)
    command = [sys.executable, "-m", "sli.command.cli", "serve", str(config), "--port", str(port)]
    with started(command, log) as child:
        wait_for(f"http://127.0.0.1:{port}/healthz", child, log)
        with prometheus(tmp_path, {"sli": f"127.0.0.1:{port}"}) as address:
            found = until_scraped(address, 'sli_value_ratio{sli="accuracy",grain="day"}')
            assert values(found) == newest(config, "accuracy")


def test_promtool_finds_nothing_wrong_with_the_metrics(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["export", "prometheus", str(config)]) == 0
    checked = subprocess.run(["promtool", "check", "metrics"], input=capsys.readouterr().out, text=True, check=False)
    assert checked.returncode == 0


def test_history_becomes_blocks_and_each_window_has_the_value_of_the_table(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "history.om"
    grains = "export.prometheus.grains=[hour, day]"
    assert main(["export", "prometheus", str(config), "--history", str(file), "--set", grains]) == 0
    make = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=744h"]
    subprocess.run([*make, str(file), str(tmp_path / "data")], check=True, capture_output=True)
    table = sli.read(config, sli="log_loss", grain="hour", slice={})
    table = table[table.value.notna()]
    first, last = (int(table.window_end.iloc[at].timestamp()) for at in (0, -1))
    with prometheus(tmp_path, {}) as address:
        [series] = ask(
            address,
            "query_range",
            query='sli_value{sli="log_loss",grain="hour",slice="all"}',
            start=first,
            end=last,
            step=3600,
        )
        found = {int(at): float(value) for at, value in series["values"]}
        assert found == {int(row.window_end.timestamp()): row.value for row in table.itertuples()}
        # A day's value stands at its end and is looked for up to 25 hours back.
        query = 'last_over_time(sli_value_ratio{sli="accuracy",grain="day"}[25h])'
        assert values(ask(address, "query", query=query, time=last + 20 * 3600)) == newest(config, "accuracy")
