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


ODD_MODEL = 'fraud "eu"\\ {{ $value }} 🛩'
SLIS = [
    {"sli": "recall", "objective": ">= 0.4"},
    {"name": "delay", "sli": "feedback_delay", "q": 0.9, "objective": "< 7200"},
    {"name": 'odd "{{ $x }}" 🛩', "sli": "precision", "objective": ">= 0.4"},
    "log_loss",
]
DAYS = 20
"""How many days of samples a unit test of rules has."""


def quoted(labels: dict[str, str]) -> str:
    return ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items())


def series(metric: str, values: float | str, **labels: str) -> dict[str, str]:
    """A series of a unit test: one value all the time, or values in the notation of promtool, hour by hour."""
    every = values if isinstance(values, str) else f"{values}x{DAYS * 24}"
    return {"series": f"{metric}{{{quoted({'model': ODD_MODEL, 'job': 'node'} | labels)}}}", "values": every}


def window(
    sli: str, slice: str, unit: str, missing: tuple[str, float], bound: float, final: int
) -> list[dict[str, str]]:
    """The series of a window that breaches its objective."""
    labels = {"sli": sli, "grain": "day", "slice": slice}
    verdicts = [
        series("sli_verdict", int(v == "breached"), **labels, verdict=v) for v in ("met", "breached", "undecided")
    ]
    end, value = missing
    return [
        series(f"sli_value{unit}", 0.25 if sli == "recall" else 9000, **labels),
        series(f"sli_missing_{end}{unit}", value, **labels),
        series("sli_objective_bound", bound, **labels),
        series("sli_final", final, **labels),
        *verdicts,
    ]


def fired(alert: str, at: str, *slices: tuple[str, str, str]) -> dict[str, Any]:
    """A test that an alert fires for these SLIs and slices, each with its severity, and for no others."""
    expected = [
        {"model": ODD_MODEL, "job": "node", "sli": sli, "grain": "day", "slice": slice, "severity": severity}
        for sli, slice, severity in slices
    ]
    return {"eval_time": at, "alertname": alert, "exp_alerts": [{"exp_labels": labels} for labels in expected]}


def check_rules(tmp_path: Path, config: Path, tests: list[dict[str, Any]]) -> None:
    """The rules of a config hold in these unit tests. Their annotations are as the rules have them."""
    rules = tmp_path / "rules.yml"
    assert main(["export", "rules", str(config), "-o", str(rules)]) == 0
    checked = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True)
    # It tells of duplicates, and ends with 0.
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout + checked.stderr
    assert "FAILED" not in checked.stdout
    # promtool compares annotations too, and these are tested as texts elsewhere.
    tree = yaml.safe_load(rules.read_text())
    for rule in tree["groups"][0]["rules"]:
        rule.pop("annotations", None)
    bare, unit = tmp_path / "bare.yml", tmp_path / "unit.yml"
    bare.write_text(yaml.safe_dump(tree, allow_unicode=True))
    unit.write_text(yaml.safe_dump({"rule_files": [str(bare)], "evaluation_interval": "1h", "tests": tests}))
    tested = subprocess.run(["promtool", "test", "rules", str(unit)], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.fixture
def ruled(tmp_path: Path) -> Path:
    tree = config_of(small_world(since=START), tmp_path)
    path = tmp_path / "rules-config.yaml"
    path.write_text(yaml.safe_dump(tree | {"model": ODD_MODEL, "slis": SLIS, "grains": ["day"]}, allow_unicode=True))
    return path


def test_a_breach_that_labels_may_mend_is_another_alert_than_one_that_stays(ruled: Path, tmp_path: Path) -> None:
    windows = [
        *window("recall", "all", "_ratio", ("high", 0.6), 0.4, final=0),
        *window("recall", "a=final", "_ratio", ("high", 0.6), 0.4, final=1),
        *window("recall", "a=hopeless", "_ratio", ("high", 0.39), 0.4, final=0),
        *window("delay", "all", "_seconds", ("low", 7200), 7200, final=0),
        *window("delay", "a=mends", "_seconds", ("low", 7199), 7200, final=0),
    ]
    # Below its bound, but undecided: its interval reaches beyond it.
    undecided = {"sli": "recall", "grain": "day", "slice": "a=few"}
    windows += [series("sli_value_ratio", 0.3, **undecided), series("sli_final", 1, **undecided)]
    windows += [series("sli_objective_bound", 0.4, **undecided)]
    windows += [series("sli_verdict", 0, **undecided, verdict="breached")]
    stays = [("recall", "a=final", "warning"), ("recall", "a=hopeless", "warning"), ("delay", "all", "critical")]
    passing = [("recall", "all", "warning"), ("delay", "a=mends", "warning")]
    alerts = [fired("SliBreached", "2h", *stays), fired("SliBreachedProvisionally", "2h", *passing)]
    counts = {
        "expr": "sli:breached_slices:sum",
        "eval_time": "2h",
        "exp_samples": [
            {
                "labels": f"sli:breached_slices:sum{{{quoted({'model': ODD_MODEL, 'grain': 'day', 'sli': sli})}}}",
                "value": n,
            }
            for sli, n in (("recall", 2), ("delay", 1))
        ],
    }
    margins = {
        "expr": 'sli:margin{slice="all"}',
        "eval_time": "2h",
        "exp_samples": [
            {"labels": f"sli:margin{{{quoted(labels)}}}", "value": value}
            for sli, value in (("recall", 0.25 - 0.4), ("delay", -1800))
            for labels in [{"model": ODD_MODEL, "job": "node", "grain": "day", "slice": "all", "sli": sli}]
        ],
    }
    test = {"interval": "1h", "input_series": windows, "alert_rule_test": alerts, "promql_expr_test": [counts, margins]}
    check_rules(tmp_path, ruled, [test])


def test_the_stack_has_the_rules_of_its_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configs = Path(__file__).parents[2] / "configs"
    monkeypatch.setenv("DASK_SCHEDULER", "tcp://127.0.0.1:1")
    monkeypatch.setenv("RESULTS_URL", "postgresql://postgres:5432/results")
    assert main(["export", "rules", str(configs / "stack.yaml"), "-o", str(tmp_path / "rules.yml")]) == 0
    assert (tmp_path / "rules.yml").read_text() == (configs / "prometheus/rules.yml").read_text()
    subprocess.run(["promtool", "check", "config", str(configs / "prometheus/prometheus.yml")], check=True)


def test_late_runs_late_labels_and_missing_metrics_are_alerts(ruled: Path, tmp_path: Path) -> None:
    model = {"model": ODD_MODEL, "severity": "warning"}
    coverage = {"sli": "recall", "grain": "day", "slice": "all"}
    lived = f"{16 * 24}"
    runs = [
        # A run an hour for 16 days, then none.
        series("sli_last_run_timestamp_seconds", f"0+3600x{lived} {16 * 86400}x{4 * 24}"),
        series("sli_window_end_timestamp_seconds", f"0+3600x{5 * 24} {5 * 86400}x{15 * 24}", **coverage),
        # The labels of each day come within it, on day 15 only half of them.
        series("sli_coverage_ratio", " ".join(["0+0.04x23"] * 15 + ["0+0.02x23"] * 5), **coverage),
    ]

    def alerts(name: str, at: str, *labels: dict[str, str]) -> dict[str, Any]:
        return {"eval_time": at, "alertname": name, "exp_alerts": [{"exp_labels": each} for each in labels]}

    late = {**model, "grain": "day", "slice": "all"}
    tests = [
        alerts("SliRunLate", "16d"),
        alerts("SliRunLate", "17d1h"),
        alerts("SliRunLate", "17d3h", model),
        alerts("SliNoPredictions", "8d"),
        alerts("SliNoPredictions", "8d1h", model),
        alerts("SliLabelsLate", "14d12h"),
        alerts("SliLabelsLate", "16d12h", late),
        alerts("SliMetricsMissing", "10d"),
    ]
    gone = [alerts("SliMetricsMissing", "30m"), alerts("SliMetricsMissing", "2h", model)]
    check_rules(
        tmp_path,
        ruled,
        [
            {"interval": "1h", "input_series": runs, "alert_rule_test": tests},
            {"interval": "1h", "input_series": [], "alert_rule_test": gone},
        ],
    )


def test_a_real_prometheus_takes_the_rules_and_its_alerts_say_what_to_do(config: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(config.read_text())
    tree |= {"slis": [{"sli": "accuracy", "objective": ">= 0.99"}]}
    required = config.with_name("required.yaml")
    required.write_text(yaml.safe_dump(tree, allow_unicode=True))
    assert main(["run", str(required), "--as-of", RUN]) == 0
    folder = tmp_path / "textfiles"
    folder.mkdir()
    assert main(["export", "prometheus", str(required), "--textfile", f"{folder}/"]) == 0
    assert main(["export", "rules", str(required), "-o", str(tmp_path / "rules.yml")]) == 0
    query = 'ALERTS{alertname=~"SliBreached.*",grain="day",slice="all"}'
    with node_exporter(folder) as node, prometheus(tmp_path, {"node": node}, rules="rules.yml") as address:
        [alert] = until_scraped(address, query)
        assert alert["metric"]["alertstate"] == "firing"
        with urllib.request.urlopen(f"{address}/api/v1/alerts", timeout=30) as answer:
            firing = json.load(answer)["data"]["alerts"]
    [whole] = [
        alert for alert in firing if alert["labels"].get("slice") == "all" and alert["labels"].get("grain") == "day"
    ]
    value = newest(config, "accuracy")["all"]
    assert f"test: accuracy is {value:.4g}, at least 0.99 is required" in whole["annotations"]["summary"]
    assert "`sli explain CONFIG accuracy`" in whole["annotations"]["description"]
