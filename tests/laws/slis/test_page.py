"""Laws of the reference page: every SLI has an entry and an example there, and both say what the product does."""

import inspect
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from plain import value_on

import sli
from sli.config.load import load_config
from sli.slis import CATALOGUE, TASKS
from sli.slis.catalogue import regression
from sli.slis.formula import INJECTED, SHARE
from sli.slis.maths.confidence import proportion
from sli.slis.states import Merged

PAGE = (Path(__file__).parents[3] / "docs" / "sli.md").read_text()
OWN = {"Binary": "binary", "Multiclass": "multiclass", "Regression": "regression", "Ranking": "ranking"}
"""Sections of one task; those of every task use the data of the first."""
EVERY = ("Values", "Operation", "Drift")
DAY = pd.Timestamp("2026-01-06", tz="UTC")
EXAMPLE = re.compile(r"^  - (?P<entry>.*?)(?: +# (?P<value>.*))?$", re.MULTILINE)


@dataclass
class Section:
    """The parts of a section: rows of its entries by name, rows of its data, and its examples as config."""

    entries: dict = field(default_factory=dict)
    data: pd.DataFrame | None = None
    blocks: list = field(default_factory=list)

    @property
    def examples(self):
        """Of each example the name of its series, its entry and the value that stands behind it."""
        for block in self.blocks:
            for line in EXAMPLE.finditer(block):
                entry = yaml.safe_load(line["entry"])
                entry = {"sli": entry} if isinstance(entry, str) else entry
                yield entry.get("name", entry["sli"]), entry, line["value"]


def section_of(text):
    section = Section()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, _, *rows = [re.split(r" *(?<!\\)\| *", line.strip())[1:-1] for line in table.splitlines()]
        if header[:2] == ["name", "value"]:
            section.entries |= {row[0].strip("`"): dict(zip(header, row, strict=True)) for row in rows}
        elif header[0] == "output_id":
            section.data = pd.DataFrame(rows, columns=header).replace("", None)
    section.blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    return section


def sections_of(page):
    parts = re.split(r"^## (.*)\n", page, flags=re.MULTILINE)[1:]
    return {
        name: section_of(text) for name, text in zip(parts[::2], parts[1::2], strict=True) if name in (*OWN, *EVERY)
    }


SECTIONS = sections_of(PAGE)


def sections_for(task):
    return [SECTIONS[name] for name, of in OWN.items() if of == task] + [SECTIONS[name] for name in EVERY]


def write_logs(folder, data, label):
    """The logs of a table of the page; a row without a label has no feedback yet."""
    rows = data.assign(**{name: data.get(name, f"{DAY:%Y-%m-%d} 09:00") for name in ("predicted_at", "known_at")})
    rows["known_at"] = rows.known_at.fillna(rows.predicted_at)
    for name in rows:
        if name.endswith("_at"):
            rows[name] = pd.to_datetime(rows[name], utc=True)
        elif rows[name].dropna().str.fullmatch(r"[\d.]+").all():
            rows[name] = rows[name].astype(float)
    for log, table in (
        ("predictions", rows.drop(columns=[label, "known_at"])),
        ("feedback", rows.loc[rows[label].notna(), ["output_id", "known_at", label]]),
    ):
        (folder / log).mkdir()
        table.to_parquet(folder / log / "rows.parquet", index=False)


def run(sections, folder):
    """The published rows of the day of the examples, and the config, of sections that share their data."""
    blocks = [yaml.safe_load(block) for section in sections for block in section.blocks]
    tree = blocks[0]
    write_logs(folder, sections[0].data, tree["feedback"]["value"])
    for log in ("predictions", "feedback"):
        tree[log]["path"] = str(folder / log)
    if "fare" in sections[0].data:
        tree["predictions"]["columns"] = ["fare", "region"]
    own = {"model": "example", "timezone": "UTC", "since": "2026-01-05", "horizon": "7d", "grains": ["day"]}
    slis = [entry for block in blocks for entry in block["slis"]]
    (folder / "config.yaml").write_text(yaml.safe_dump({**tree, **own, "store": str(folder / "results"), "slis": slis}))
    assert sli.run(folder / "config.yaml", as_of="2026-01-08").published
    config = load_config(folder / "config.yaml")
    rows = sli.read(config)
    return rows[rows.window_start == DAY].set_index("sli"), config


class Published(dict):
    """Rows and config by task, made when they are first asked for."""

    def __init__(self, make_folder):
        self.make_folder = make_folder

    def __missing__(self, task):
        sections = sections_for(task)
        self[task] = run(sections if task == "binary" else sections[:1], self.make_folder(task))
        return self[task]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return Published(tmp_path_factory.mktemp)


def text_of(row):
    """What stands behind an example: the value with three digits, or why there is none."""
    return row.reason if math.isnan(row.value) else f"{float(f'{row.value:.3g}'):.10g}"


def text_of_range(low, high):
    if math.isinf(low):
        return "any" if math.isinf(high) else f"up to {high:g}"
    return f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:.4g}"


def test_the_page_has_all_its_sections():
    assert list(SECTIONS) == [*OWN, *EVERY]
    assert all(section.entries and section.blocks for section in SECTIONS.values())


@pytest.mark.parametrize(("task", "name"), CATALOGUE)
def test_every_sli_has_an_entry_with_its_parameters_and_an_example(task, name):
    (row,) = [section.entries[name] for section in sections_for(task) if name in section.entries]
    entry = CATALOGUE[task, name]
    assert set(re.findall(r"`(\w+)`", row["parameters"])) == set(entry.parameters)
    assert row["better"] == (entry.better or "")
    for key, parameter in inspect.signature(entry.make).parameters.items():
        if key not in INJECTED and isinstance(parameter.default, int):
            assert f"`{key}` ({parameter.default})" in row["parameters"]
    assert name in [example["sli"] for section in sections_for(task) for _, example, _ in section.examples]


@pytest.mark.parametrize("task", TASKS)
def test_the_values_behind_the_examples_are_those_of_the_product(published, task):
    rows, _ = published[task]
    examples = [each for section in sections_for(task) for each in section.examples if each[0] in rows.index]
    assert len(examples) == len(rows)
    assert {name: value for name, _, value in examples} == {name: text_of(rows.loc[name]) for name, *_ in examples}


@pytest.mark.parametrize("task", TASKS)
def test_entries_say_the_range_and_whether_there_is_an_interval_and_bounds(published, task):
    rows, config = published[task]
    ranges = {each.name: text_of_range(*each.formula.range) for each in config.declared}
    for section in sections_for(task):
        for name, example, _ in section.examples:
            if name not in rows.index:
                continue
            entry, row = section.entries[example["sli"]], rows.loc[name]
            if "`" not in entry["range"]:
                assert entry["range"] == ranges[name], name
            if not entry["interval"]:
                assert math.isnan(row.ci_low), name
            if entry["bounds"] in ("", "yes"):
                assert math.isnan(row.missing_low) == (entry["bounds"] == ""), name
            assert math.isnan(row.value) or row.error_bound == 0, name


def test_the_example_of_a_new_built_in_one_has_the_value_of_its_pairs():
    code = re.search(r"## A new built-in one\n.*?```python\n(.*?)```", PAGE, re.DOTALL)[1]
    names = {**vars(regression), "SHARE": SHARE, "proportion": proportion}
    names["entry"] = lambda *_, **__: lambda make: make
    exec(code, names)
    formula, one = names["within"](2), np.array([1])
    pairs = pd.DataFrame({"prediction": [12.0, 20.0, 31.0, 8.0, 15.0], "label": [10, 25, 30, 8, math.nan]})
    pairs["usable"] = pairs.label.notna()
    states = {"inside": 3 * one, "usable": 4 * one, "waiting": one}
    values = formula.value(Merged(5 * one, 4 * one, states, one))
    assert value_on(formula, pairs) == values.value[0] == 0.75
    assert (values.missing_low[0], values.missing_high[0]) == (0.6, 0.8)
