"""The metrics of `sli export prometheus`: what they say to a reader that is not ours, and what is refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from builders import small_world
from desk import Desk
from hypothesis import given
from hypothesis import strategies as st
from oracle import Feedback, Prediction
from prometheus_client.parser import text_string_to_metric_families
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.command.cli import main
from sli.export.samples import slice_label

START = at("2024-03-08T00:00")
ODD = ("x", 'q"uote', "back\\slash", "new\nline", "a,b=c", "null", "", " ", "naïve 🛩", "café", None)
"""Values of a slice column that a text format could mistake."""
MODEL = 'fraud "eu"\\n\n🛩'
Key = tuple[str, str, str]


SLIS = ("accuracy", {"sli": "recall", "objective": ">= 0.5"}, "log_loss", "feedback_delay", "count")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of two days of predictions of every odd slice, after a run."""
    root = tmp_path_factory.mktemp("prometheus")
    scenario = Scenario(root, small_world(horizon=DAY, since=START, slice_by=((), ("a",))))
    rows = [
        Prediction(f"{slice}{hour}", START + hour * HOUR + i, (i * 7 + hour) % 10 / 10, {"a": slice})
        for hour in range(48)
        for i, slice in enumerate(ODD)
    ]
    scenario.log_predictions("a.parquet", rows)
    labels = [Feedback(row.id, row.time + HOUR, float(i % 3 == 0)) for i, row in enumerate(rows[:200]) if row.time]
    scenario.log_feedback("a.parquet", labels)
    tree = config_of(scenario.world, root)
    tree |= {"model": MODEL, "slis": [*SLIS], "grains": ["hour", "day", {"size": "7d"}]}
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True))
    assert main(["run", str(path), "--as-of", text(START + 2 * DAY)]) == 0
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["export", "prometheus", *arguments]) == 0
    return capsys.readouterr().out


def samples(exposition: str) -> dict[str, dict[Key, float]]:
    """By metric the value of each SLI, grain and slice, as the reader of Prometheus's own client has it."""
    found: dict[str, dict[Key, float]] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("model") == MODEL
            assert sample.timestamp is None
            key = labels.pop("sli", ""), labels.pop("grain", ""), labels.pop("slice", "")
            name = sample.name + "".join(f" {value}" for value in labels.values() if sample.name == "sli_verdict")
            assert key not in found.setdefault(name, {}), f"{name} {key} twice"
            found[name][key] = sample.value
    return found


def newest(config: Path) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    frame = sli.read(config)
    frame = frame[frame.grain.isin(["day", "7d/1d"])]
    frame["label"] = frame["slice"].map(slice_label)
    for key, rows in frame.groupby(["sli", "grain", "label"]):
        yield key, rows.sort_values("window_end").iloc[-1].to_dict()


UNITS = {"accuracy": "_ratio", "recall": "_ratio", "log_loss": "", "feedback_delay": "_seconds", "count": ""}


def test_every_sample_is_the_value_of_the_table_to_the_bit(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, rows = samples(printed(capsys, str(config))), dict(newest(config))
    assert {key[2] for key in rows} == {slice_label({"a": value}) for value in ODD} | {"all"}
    of_value = {"value": "value", "interval_low": "ci_low", "interval_high": "ci_high"}
    of_value |= {name: name for name in ("missing_low", "missing_high")}
    expected: dict[str, dict[Key, float]] = {}
    for key, row in rows.items():
        own = {f"sli_{name}{UNITS[key[0]]}": row[column] for name, column in of_value.items()}
        own |= {f"sli_{name}": row[name] for name in ("predictions", "labelled")}
        own |= {"sli_coverage_ratio": row["coverage"], "sli_final": row["maturity"] == "final"}
        own["sli_window_end_timestamp_seconds"] = row["window_end"].timestamp()
        if isinstance(row["objective"], str):
            own["sli_objective_bound"] = 0.5
            for verdict in ("met", "breached", "undecided"):
                own[f"sli_verdict {verdict}"] = float("nan") if pd.isna(row["value"]) else row["verdict"] == verdict
        for name, value in own.items():
            if not pd.isna(value):
                expected.setdefault(name, {})[key] = float(value)
    found.pop("sli_info")
    assert found.pop("sli_last_run_timestamp_seconds") == {("", "", ""): (START + 2 * DAY) / 1e6}
    assert found == expected
    assert any(pd.isna(row["value"]) for row in rows.values()), "a null has no sample"


def test_an_sli_is_told_with_its_definition_objective_and_horizon(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [info] = [f for f in text_string_to_metric_families(printed(capsys, str(config))) if f.name == "sli_info"]
    told = {sample.labels["sli"]: sample.labels for sample in info.samples}
    assert told["recall"]["objective"] == ">= 0.5"
    assert told["recall"]["horizon"] == "86400s"
    assert told["recall"]["definition"] == sli.read(config, sli="recall").definition.iloc[0]


texts = st.one_of(st.sampled_from(["a", "null", '"a"', "a,y=a", "\\n"]), st.text('a=," \\\n', max_size=5))
slices = st.dictionaries(
    st.one_of(st.sampled_from(["x", "y", "x=a,y"]), texts), st.one_of(st.none(), texts), max_size=3
)


@given(slices, slices)
def test_two_slices_never_have_one_label(one: dict[str, str | None], other: dict[str, str | None]) -> None:
    assert (slice_label(one) == slice_label(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": "a,y=b"}, {"x": "a", "y": "b"}),
        ({"x": None}, {"x": "null"}),
        ({"x": ""}, {"x": '""'}),
        ({"x=a,y": "b"}, {"x": "a", "y": "b"}),
        ({}, {"all": ""}),
    ],
)
def test_slices_that_look_alike_have_different_labels(one: dict[str, str | None], other: dict[str, str | None]) -> None:
    assert slice_label(one) != slice_label(other)


def test_a_slice_has_its_newest_window_for_31_days_and_then_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = Scenario(tmp_path, small_world(horizon=DAY, since=START, slice_by=((), ("a",)), grains=("day",)))
    days = [(day, "x") for day in range(41)] + [(20, "paused"), (3, "gone")]
    rows = [Prediction(f"{slice}{day}", START + day * DAY, 0.5, {"a": slice}) for day, slice in days]
    scenario.log_predictions("a.parquet", rows)
    scenario.run(START + 41 * DAY)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config_of(scenario.world, tmp_path) | {"model": MODEL}))
    ends = samples(printed(capsys, str(tmp_path / "c.yaml")))["sli_window_end_timestamp_seconds"]
    assert {slice: round((end - START / 1e6) / 86400) for (_, _, slice), end in ends.items()} == {
        "all": 41,
        "a=x": 41,
        "a=paused": 21,
    }


def test_a_config_chooses_slis_grains_and_how_many_slices(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    choice = [f"export.prometheus.{key}" for key in ("slis=[recall]", "grains=[hour]", "slices=2")]
    found = samples(printed(capsys, str(config), *(part for key in choice for part in ("--set", key))))
    keys = set(found["sli_predictions"])
    assert {key[:2] for key in keys} == {("recall", "hour")}
    assert len(keys) == 3
    assert ("recall", "hour", "all") in keys


def test_a_wrong_choice_is_told_with_the_nearest_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, right in (("slis=[recal]", "recall"), ("grains=[days]", "day"), ("textfil=x", "textfile")):
        assert main(["export", "prometheus", str(config), "--set", f"export.prometheus.{wrong}"]) == 2
        assert f"did you mean '{right}'" in capsys.readouterr().err


def test_too_many_series_are_refused_unless_that_many_are_allowed(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = sum(map(len, samples(printed(capsys, str(config))).values()))
    assert main(["export", "prometheus", str(config), "--series", "100"]) == 2
    err = capsys.readouterr().err
    assert f"these are {series:,} series for Prometheus, more than 100" in err
    assert f"--series {series}" in err
    assert printed(capsys, str(config), "--series", str(series))


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


def to(path: str) -> dict[str, object]:
    return {"prometheus": {"textfile": path}}


def test_a_run_writes_the_file_of_node_exporter(desk: Desk) -> None:
    (desk.root / "metrics").mkdir()
    desk.configure(model="a/b", export=to("metrics/"))
    umask = os.umask(0o022)
    try:
        assert desk.run().code == 0
    finally:
        os.umask(umask)
    [file] = (desk.root / "metrics").iterdir()
    assert file.name == "sli-a%2Fb.prom"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644, "another user reads it"
    value = sli.read(desk.config, grain="hour").value.iloc[-1].item()
    line = f'sli_value_ratio{{model="a/b",sli="accuracy",grain="hour",slice="all"}} {value!r}'
    assert line in file.read_text().split("\n")


def test_a_file_that_is_gone_is_written_by_the_next_run_though_nothing_changed(desk: Desk) -> None:
    desk.configure(export=to("sli.prom"))
    desk.run()
    (desk.root / "sli.prom").unlink()
    assert desk.run().has("nothing to do")
    assert (desk.root / "sli.prom").exists()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("gone/sli.prom", "the folder of the textfile does not exist"),
        ("sli.txt", "node_exporter reads only files whose names end in .prom"),
        ("c.yaml/sli.prom", "the textfile"),
    ],
)
def test_a_textfile_that_cannot_be_written_is_a_warning_and_the_run_is_unharmed(
    desk: Desk, path: str, told: str
) -> None:
    desk.configure(export=to(path))
    said = desk.run()
    assert said.code == 3
    assert said.has("export.prometheus", told)
    assert desk.counts() == (6, 6)
    assert desk.call("export", "prometheus", str(desk.config), "--textfile", str(desk.root / path)).code in (2, 4)


def test_a_file_of_another_model_or_program_is_not_replaced(desk: Desk) -> None:
    file = desk.root / "sli.prom"
    desk.run()
    assert desk.call("export", "prometheus", str(desk.config), "--textfile", str(file)).has("12 series")
    before = file.read_text()
    desk.configure(model="other", export=to("sli.prom"))
    said = desk.run()
    assert said.has('this file has the samples of the model "m"', "name the folder")
    assert file.read_text() == before
    file.write_text("node_up 1\n")
    desk.configure(export=to("sli.prom"))
    assert desk.run().has("this file is not one that sli wrote")
    assert file.read_text() == "node_up 1\n"
    assert sorted(path.name for path in desk.root.glob(".*")) == [], "nothing unfinished is left"


def test_several_models_get_a_file_each(desk: Desk) -> None:
    folder, metrics = desk.root / "configs", desk.root / "metrics"
    folder.mkdir()
    metrics.mkdir()
    tree = yaml.safe_load(desk.config.read_text())
    paths = {"store": "../store", "predictions": {**tree["predictions"], "path": "../predictions"}}
    paths |= {"feedback": {**tree["feedback"], "path": "../feedback"}}
    for model in ("one", "two"):
        (folder / f"{model}.yaml").write_text(yaml.safe_dump(tree | paths | {"model": model, "store": f"../{model}"}))
    desk.call("run", str(folder), "--as-of", "2024-02-01")
    assert desk.call("export", "prometheus", str(folder)).has("the metrics of several models go to a file each")
    assert desk.call("export", "prometheus", str(folder), "--textfile", f"{metrics}/").code == 0
    assert sorted(path.name for path in metrics.iterdir()) == ["sli-one.prom", "sli-two.prom"]


def test_before_the_first_run_there_is_nothing_to_export(desk: Desk) -> None:
    said = desk.call("export", "prometheus", str(desk.config))
    assert said.code == 4
    assert said.has("nothing is published yet", "sli run")
