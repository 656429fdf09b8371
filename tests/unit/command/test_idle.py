"""A run that says at once that it has nothing to do: exactly where its plan is empty, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.command.cli import main
from sli.config.tree import read_tree
from sli.planning import idle, listing
from sli.publishing.store import Store
from sli.publishing.unchanged import is_unchanged

START = at("2024-01-15T00:00")


class Site:
    """A scenario whose config is a file; one of its labels becomes known 20 hours later, and a prediction is made."""

    def __init__(self, root: Path, **changes: Any) -> None:
        changes = {"since": START, "horizon": 3 * HOUR, "grains": ("hour", "day", "cumulative"), **changes}
        world = small_world(slis=("accuracy",), **changes)
        self.scenario, self.config = Scenario(root, world), root / "sli.yaml"
        self.config.write_text(yaml.safe_dump(config_of(world, root)))
        hours = [START + hour * HOUR for hour in (0, 1, 2, 20)]
        self.scenario.log_predictions("a.parquet", [Prediction(f"p{t}", t, 0.7, {}) for t in hours])
        self.scenario.log_feedback("a.parquet", [Feedback(f"p{t}", t + 90 * 60_000_000, 1.0) for t in hours])

    def run(self, as_of: int) -> bool:
        return sli.run(self.config, as_of=text(as_of)).published

    def is_unchanged(self, as_of: int, *settings: str) -> bool:
        tree = read_tree(self.config, settings)
        return is_unchanged(tree.keys, tree.digest(sli.__version__), as_of)

    def plan_is_empty(self, as_of: int) -> bool:
        return sli.plan(self.config, as_of=text(as_of)).empty


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("first", [0, 2 * HOUR + 1, 21 * HOUR + 60_000_000, 22 * HOUR, 10 * DAY])
def test_it_says_so_exactly_where_the_plan_is_empty(site: Site, first: int) -> None:
    as_of = START + first
    assert site.run(as_of)
    step, told = 30 * 60_000_000, []
    for later in [as_of + number * step for number in range(60)] + [as_of + 30 * DAY]:
        told.append(site.is_unchanged(later))
        assert told[-1] is site.plan_is_empty(later), text(later)
    assert told[0], "right after a run there is nothing to do"
    assert first > DAY or not all(told), "windows become final, and rows known"


def test_it_says_so_again_after_the_next_run(site: Site) -> None:
    as_of = START + HOUR
    site.run(as_of)
    for _ in range(12):
        as_of += 3 * HOUR + 1_000_000
        assert site.is_unchanged(as_of) is site.plan_is_empty(as_of)
        site.run(as_of)


def another_file(site: Site) -> None:
    site.scenario.log_predictions("b.parquet", [Prediction("b", START, 0.7, {})])


def replaced_file(site: Site) -> None:
    rows = site.scenario.feedback["a.parquet"]
    site.scenario.log_feedback("a.parquet", rows)
    os.utime(site.scenario.root / "feedback" / "a.parquet", (1, 1))


def edited(**keys: object) -> Callable[[Site], None]:
    def edit(site: Site) -> None:
        tree = yaml.safe_load(site.config.read_text())
        site.config.write_text(yaml.safe_dump({**tree, **keys}))

    return edit


def damaged(site: Site) -> None:
    (site.scenario.root / "feedback" / "bad.parquet").write_bytes(b"no Parquet")
    site.run(START + DAY + 1)


def published_by_another_config(site: Site) -> None:
    sli.run(site.config, as_of=text(START + DAY), settings=["threshold=0.9"])


def taken_back(site: Site) -> None:
    store = Store(site.scenario.config.store)
    results = store.results()
    assert results is not None
    results.restore(results.version - 1)


@pytest.mark.parametrize(
    "change",
    [
        another_file,
        replaced_file,
        lambda site: site.scenario.remove("feedback", "a.parquet"),
        edited(threshold=0.9),
        edited(slis=["accuracy", "precision"]),
        edited(horizon="4h"),
        edited(grains=["hour"]),
        edited(memory="lots"),
        edited(dask={"workers": -3}),
        damaged,
        published_by_another_config,
        taken_back,
    ],
)
def test_it_does_not_say_so_after_a_change(site: Site, change: Callable[[Site], None]) -> None:
    site.run(START + DAY)
    assert site.is_unchanged(START + DAY)
    change(site)
    assert not site.is_unchanged(START + DAY + 1)


def test_it_does_not_say_so_of_another_time_setting_or_version(site: Site) -> None:
    site.run(START + DAY)
    assert not site.is_unchanged(START + DAY - 1), "an older as_of"
    assert not site.is_unchanged(START + DAY, "threshold=0.9")
    tree = read_tree(site.config)
    assert not is_unchanged(tree.keys, tree.digest("another version"), START + DAY)


@pytest.mark.parametrize(
    "keys",
    [
        {"slis": ["accuracy", {"name": "own", "python": "sklearn.metrics:accuracy_score"}]},
        {"slis": ["accuracy", {"sli": "psi", "against": {"table": "predictions/a.parquet"}}]},
    ],
)
def test_it_never_says_so_where_the_config_names_something_elsewhere(site: Site, keys: dict[str, object]) -> None:
    edited(**keys)(site)
    tree = read_tree(site.config)
    assert not tree.digest(sli.__version__)
    assert not is_unchanged(tree.keys, "", START + DAY)


def test_it_does_not_say_so_after_a_run_with_a_look_back(site: Site) -> None:
    sli.run(site.config, as_of=text(START + DAY), look_back="1h")
    assert not site.is_unchanged(START + DAY)


def test_the_command_says_the_same_either_way(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["run", str(site.config), "--as-of", text(START + DAY)]
    assert main(run) == 0
    capsys.readouterr()
    monkeypatch.setattr("sli.runs.recompute.run", None)
    assert main(run) == 0
    quick = capsys.readouterr().out
    monkeypatch.undo()
    assert main([*run, "--look-back", "9d"]) == 0
    assert quick.partition(" (")[0] == capsys.readouterr().out.partition(" (")[0]


def test_a_log_that_is_gone_is_told_as_ever(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(START + DAY)
    (site.scenario.root / "predictions").rename(site.scenario.root / "elsewhere")
    assert main(["run", str(site.config), "--as-of", text(START + DAY)]) == 4
    assert "does not exist" in capsys.readouterr().err


class DatedSite(Site):
    """A site whose runs list only the last weeks of 41 days, if the first run of the day listed everything."""

    NOW = START + 40 * DAY + 12 * HOUR

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (idle, listing):
            monkeypatch.setattr(module, "MOST_FILES", 0)
        super().__init__(root, duplicates_within=2 * DAY)
        for day in range(41):
            self.log(day, "a")

    def log(self, day: int, name: str, after: int = 0) -> None:
        made = START + day * DAY + after
        path = f"day={text(made)[:10]}/{name}.parquet"
        self.scenario.log_predictions(path, [Prediction(f"{day}{name}", made, 0.7, {})])
        self.scenario.log_feedback(path, [Feedback(f"{day}{name}", made + HOUR, 1.0)])


def test_a_run_that_listed_only_the_last_weeks_says_so_until_the_day_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, now = DatedSite(tmp_path, monkeypatch), DatedSite.NOW
    log = site.log
    assert site.run(now)
    assert not site.is_unchanged(now), "such a run lists everything, which an idle one is to be spared"
    log(40, "b", 10 * HOUR)
    assert site.run(now + HOUR)
    times = [now + HOUR + number * 30 * 60_000_000 for number in range(23)]
    told = [site.is_unchanged(later) for later in times]
    assert told == [site.plan_is_empty(later) for later in times]
    assert told[0]
    assert not site.is_unchanged(START + 41 * DAY), "the first run of a day lists everything"
    log(3, "a", 1_000_000)
    assert site.is_unchanged(now + HOUR), "a run of this day does not look there"
    log(40, "c", 10 * HOUR)
    assert not site.is_unchanged(now + HOUR)


def test_a_full_listing_that_is_asked_for_looks_at_the_folders_that_were_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site, now = DatedSite(tmp_path, monkeypatch), DatedSite.NOW
    site.run(now)
    site.log(40, "b", 10 * HOUR)
    site.run(now + HOUR)
    site.log(3, "late", 5 * HOUR)
    run = ["run", str(site.config), "--as-of", text(now + HOUR)]
    assert main(run) == 0
    assert "nothing to do" in capsys.readouterr().out, "a run of this day does not look there"
    main([*run, "--full-listing"])
    told = capsys.readouterr()
    assert "nothing to do" not in told.out + told.err
    store = Store(site.scenario.config.store)
    assert "predictions/day=2024-01-18/late.parquet" in str(store.rows("inputs", store.published()).to_pylist())
