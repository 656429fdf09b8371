"""docs/prometheus.md and docs/webhooks.md say what the code does."""

from __future__ import annotations

import json
import re
import shlex
import time
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from builders import config_tree

from sli.command.arguments import parser
from sli.config.document import parse_yaml
from sli.config.export_sections import PROBLEMS, PrometheusSink
from sli.config.load import checked
from sli.export.notice import VERSION, Notice
from sli.export.rules import rules_of
from sli.export.samples import FAMILIES, INFO, LAST_RUN, UNITS, WINDOW_END
from sli.export.webhooks import ATTEMPT, REPEATABLE, TOTAL, signature

DOCS = Path(__file__).parents[3] / "docs"
PROMETHEUS, WEBHOOKS = ((DOCS / f"{name}.md").read_text() for name in ("prometheus", "webhooks"))


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def test_every_metric_is_listed_and_no_other() -> None:
    listed = set(re.findall(r"`(sli_\w+)", PROMETHEUS.split("| metric |")[1].split("\n\n")[0]))
    names = {family.name for family in (*FAMILIES, INFO, LAST_RUN, WINDOW_END)}
    units = {f"sli_value{unit}" for unit in UNITS}
    assert listed == names | units


def test_the_keys_and_their_defaults_are_those_of_the_config() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", PROMETHEUS.split("| key |")[1].split("\n\n")[0], flags=re.MULTILINE)
    assert {name for name, _ in rows} == PrometheusSink.model_fields.keys() - {"textfile"}
    assert dict(rows)["slices"] == str(PrometheusSink().slices)
    assert dict(rows)["series"] == str(PrometheusSink().series)


def test_every_alert_and_recording_is_described() -> None:
    config = checked(config_tree(slis=[{"sli": "accuracy", "objective": ">= 0.5"}]))
    rules = yaml.safe_load(rules_of(config))["groups"][0]["rules"]
    assert {rule["alert"] for rule in rules if "alert" in rule} == set(re.findall(r"^\| `(Sli\w+)`", PROMETHEUS, re.M))
    for rule in rules:
        assert f"`{rule.get('alert', rule.get('record'))}`" in PROMETHEUS
        if "alert" in rule:
            assert rule["annotations"].keys() == {"summary", "description"}
            assert "`" in rule["annotations"]["description"], "it says what to do"


def test_commands_are_understood() -> None:
    for block in blocks("bash", PROMETHEUS):
        for line in block.splitlines():
            command, *arguments = shlex.split(line)
            if command == "sli":
                assert parser().parse_args(arguments).sink == "prometheus"


@pytest.mark.parametrize("block", [b for page in (PROMETHEUS, WEBHOOKS) for b in blocks("yaml", page) if "export" in b])
def test_configs_are_valid(block: str) -> None:
    text = re.sub(r"\$\{(\w+)\}", lambda match: f"https://example.com/{match[1]}", block)
    checked({**config_tree(), **parse_yaml(text, "docs")})


def test_the_document_has_the_fields_of_a_notice_and_every_event_is_described() -> None:
    [block] = blocks("json", WEBHOOKS)
    document, own = json.loads(block), [field.name for field in fields(Notice) if field.name != "lines"]
    assert [*document] == ["version", "events", "text", *own]
    assert document["version"] == VERSION
    events = re.findall(r"^\| `(\w+)` \|", WEBHOOKS, flags=re.MULTILINE)
    assert events == ["published", *PROBLEMS]


def test_a_receiver_can_check_a_signature_as_described() -> None:
    names: dict[str, object] = {}
    [block] = blocks("python", WEBHOOKS)
    exec(block, names)
    genuine, now, body = names["genuine"], str(int(time.time())), b'{"version":1}'
    assert callable(genuine)
    headers = {"Sli-Timestamp": now, "Sli-Signature": signature("key", now, body)}
    assert genuine("key", headers, body)
    assert not genuine("other", headers, body)
    assert not genuine("key", headers, body + b" ")
    old = {"Sli-Timestamp": "1700000000", "Sli-Signature": signature("key", "1700000000", body)}
    assert not genuine("key", old, body)


def test_numbers_are_those_of_the_code() -> None:
    assert f"**{TOTAL:g} seconds**" in WEBHOOKS
    assert TOTAL == 3 * ATTEMPT
    assert f"the answers {', '.join(map(str, REPEATABLE))} and 5xx" in WEBHOOKS
