"""An as_of in the future: refused where it would hide what becomes known until then, and taken back where it does."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import Template, small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.command.cli import main
from sli.errors import ConfigError, StoreError
from sli.planning import as_of
from sli.publishing.store import Store
from sli.reading.verify import verify
from sli.runs.backfill import plan_backfill
from sli.runs.preview import plan

START = at("2024-03-08T00:00")
FAR = at("2199-01-01T00:00")
WORLD = small_world(horizon=2 * DAY, since=START, grains=("day", "cumulative"), slis=("accuracy", "mean"))


def logged(scenario: Scenario, *days: int) -> None:
    for day in days:
        rows = [Prediction(f"{day}-{i}", START + day * DAY + i * HOUR, i / 24, {}) for i in range(24)]
        scenario.log_predictions(f"{day}.parquet", rows)
        told = [Feedback(row.id, (row.time or 0) + HOUR, float(n % 3 == 0)) for n, row in enumerate(rows[::2])]
        scenario.log_feedback(f"{day}.parquet", told)


def made(folder: Path) -> Scenario:
    scenario = Scenario(folder, WORLD)
    logged(scenario, 0)
    (folder / "sli.yaml").write_text(yaml.safe_dump(config_of(WORLD, folder)))
    return scenario


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return made(tmp_path)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Template, Any]:
    """As earlier versions let it happen: published as of the past, and then as of a far future, twice. And the belief
    before."""
    scenario = made(tmp_path_factory.mktemp("frozen") / "world")
    scenario.run(START + 2 * DAY)
    before = sli.read(scenario.config)
    logged(scenario, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(as_of, "latest_as_of", lambda: FAR + DAY)
        scenario.run(FAR)
        logged(scenario, 2)
        scenario.run(FAR + HOUR)
    return Template(scenario), before


@pytest.fixture
def frozen(template: tuple[Template, Any]) -> tuple[Scenario, Any]:
    return template[0].restored(), template[1]


def as_ofs(scenario: Scenario, table: str = "runs") -> list[int]:
    return sorted({round(each.timestamp()) * 1_000_000 for each in sli.read(scenario.config, table=table).as_of})


def test_an_as_of_still_to_come_is_refused_before_any_work(scenario: Scenario) -> None:
    everything = {"start": text(START), "end": text(START + DAY), "as_of": text(FAR)}
    for call in (
        lambda: scenario.run(FAR),
        lambda: plan(scenario.config, as_of=text(FAR)),
        lambda: plan_backfill(scenario.config, **everything),
        lambda: sli.backfill(scenario.config, **everything),
    ):
        with pytest.raises(ConfigError, match="as_of lies in the future") as caught:
            call()
        assert caught.value.found == "2199-01-01T00:00Z"
    assert not Path(scenario.config.store).exists()
    soon = int(time.time()) * 1_000_000 + 23 * HOUR
    assert scenario.run(soon).plan.as_of == soon, "clocks differ"


def test_future_shows_what_would_be_done_then_and_publishes_nothing_over_a_belief_as_of_today(
    scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(scenario.root / "sli.yaml")
    assert main(["run", config, "--as-of", text(START + DAY)]) == 0
    before = sli.read(scenario.config)
    command = [config, "--as-of", "2199-01-01", "--future"]
    assert main(["plan", *command]) == 0
    assert "became final" in capsys.readouterr().out
    assert main(["run", *command]) == 2
    assert "would hide everything that becomes known until then" in capsys.readouterr().err
    assert sli.read(scenario.config).equals(before)
    assert main(["run", config]) == 0


def test_a_store_of_made_up_times_takes_runs_that_say_so(scenario: Scenario) -> None:
    made_up = at("2100-01-01T00:00")
    scenario.world = replace(WORLD, horizon=98 * 365 * DAY)
    scenario.run(made_up, future=True)
    logged(scenario, 1)
    scenario.run(made_up + DAY, future=True)
    scenario.check(made_up + DAY)
    logged(scenario, 2)
    assert sli.run(scenario.config, future=True).plan.as_of == made_up + DAY
    with pytest.raises(StoreError, match="as of a time in the future"):
        sli.run(scenario.config)
    with pytest.raises(StoreError, match="no earlier publication to go back to"):
        sli.run(scenario.config, undo_future=True)
    scenario.check(made_up + DAY)


def test_a_store_frozen_by_a_far_as_of_says_so_and_the_remedy_works(
    frozen: tuple[Scenario, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, before = frozen
    config = str(scenario.root / "sli.yaml")
    for command in ("run", "plan"):
        assert main([command, config]) == 4
        told = capsys.readouterr().err
        assert "nothing known until then would replace it" in told
        assert "`sli run CONFIG --undo-future`" in told
    logged(scenario, 3)
    assert main(["run", config, "--undo-future"]) == 0
    assert "the results are as of 2024-03-10T00:00Z again" in capsys.readouterr().err
    published = Store(scenario.config.store).published()
    assert published is not None
    assert as_ofs(scenario) == as_ofs(scenario, "revisions") == [START + 2 * DAY, published.as_of]
    assert published.sequence == 2
    assert published.as_of <= as_of.latest_as_of()
    scenario.check(published.as_of)
    assert sli.read(scenario.config, as_of=text(START + 2 * DAY)).equals(before)
    assert verify(scenario.config, windows=None).equal
    assert main(["run", config, "--undo-future"]) == 0, "nothing is left to take back"
    assert "took back" not in capsys.readouterr().err
    logged(scenario, 4)
    assert sli.run(scenario.config).published


def test_what_is_taken_back_is_taken_back_in_one_step(
    frozen: tuple[Scenario, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, before = frozen

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("sli.runs.execute.recompute_tiles", killed)
        patch.setattr("sli.runs.execute.amend_tiles", killed)
        with pytest.raises(Killed):
            sli.run(scenario.config, undo_future=True)
    assert sli.read(scenario.config).equals(before)
    assert as_ofs(scenario) == [START + 2 * DAY]
    now = sli.run(scenario.config).plan.as_of
    scenario.check(now)
