"""Formats of stores: those of older versions are read and migrated in one step, those of newer ones left untouched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from faulty import On, fails, faulty
from fixtures import make_store
from old_stores import AS_OF, WRITTEN_BY, beliefs, bytes_of, given_format, opened

import sli
from sli.calendar.interval import Interval, intersection
from sli.command.cli import main
from sli.command.text import OUTCOMES
from sli.config.model import Config
from sli.errors import StoreError
from sli.judging.compare import compare_slices
from sli.planning import formats
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Needs, lacks
from sli.planning.published import Listed, Published
from sli.planning.request import Backfill
from sli.publishing.store import LAYOUT, Store
from sli.reading.verify import verify
from sli.runs.backfill import plan_backfill
from sli.runs.preview import plan

KEEPS_OUTCOMES = 6
"""The first format of which the store here was written by a version that keeps outcomes in each tile."""
SHAPE = "bf9942b25b7f"
"""Hash of the columns of all tables, and of the keys of the published state, in this format."""


@pytest.fixture(params=sorted(WRITTEN_BY))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Config]]:
    """A store as an older version, or this one, wrote it."""
    with opened(request.param, tmp_path) as config:
        yield request.param, config


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    """A store as this version wrote it."""
    with opened(formats.FORMAT, tmp_path) as config:
        yield config


def test_each_format_has_its_store() -> None:
    assert sorted(WRITTEN_BY) == list(range(formats.UNNAMED, formats.FORMAT + 1))
    assert set(formats.STEPS) == set(range(formats.UNNAMED, formats.FORMAT))


def test_a_store_of_an_older_version_is_read_planned_and_migrated_and_only_gains_outcomes(
    old: tuple[int, Config], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found, config = old
    before = beliefs(config)
    assert len(before) == 54
    told = f"the store has format {found}; this run migrates it to {formats.FORMAT}: "
    command = [str(tmp_path / "sli.yaml"), "--as-of", AS_OF.isoformat()]
    assert main(["plan", *command]) == 0
    said = capsys.readouterr().out
    assert (told in said) is (found < formats.FORMAT)
    assert (f"compute only {OUTCOMES}: 2024-03-08" in said) is (found < KEEPS_OUTCOMES)
    planned = plan(config, as_of=AS_OF)
    assert planned.tiles == sum(i.end - i.start for i in planned.outcomes_to_fill) // config.tile
    assert planned.held
    assert not intersection(planned.held, planned.outcomes_to_fill)
    assert main(["run", *command]) == 0
    said = capsys.readouterr()
    assert (told in said.out) is (told in said.err) is (found < formats.FORMAT)
    assert (f"added to stored hours: {OUTCOMES}" in said.out) is (found < KEEPS_OUTCOMES)
    assert beliefs(config) == before
    state = Store(config.store).published()
    assert state is not None
    assert state.migration is None
    held = state.needs.of(HELD)
    assert held == planned.held
    assert plan(config, as_of=AS_OF).empty
    assert plan(config, as_of=AS_OF).outcomes_lacking == (held if found < KEEPS_OUTCOMES else ())
    assert verify(config, windows=None).equal


def test_a_store_of_an_older_version_goes_on_with_new_files(old: tuple[int, Config]) -> None:
    _, config = old
    before = sli.read(config, table="revisions")
    make_store.log(make_store.logs(3))
    outcome = sli.run(config, as_of=AS_OF + timedelta(hours=1))
    assert 0 < outcome.plan.tiles < outcome.plan.tiles_total
    assert not outcome.plan.new_series
    assert len(sli.read(config, table="revisions")) == len(before) + len(outcome.revised)
    assert verify(config, windows=None).equal


def test_a_migration_that_is_killed_leaves_the_store_as_it_was(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "STEPS", {**formats.STEPS, formats.FORMAT: formats.Step("all anew", recompute=True)})
    monkeypatch.setattr(formats, "FORMAT", formats.FORMAT + 1)
    before, state = beliefs(config), Store(config.store).published()

    class Killed(BaseException):
        pass

    with faulty(On("write results", fails(Killed()))), pytest.raises(Killed):
        sli.run(config, as_of=AS_OF)
    assert Store(config.store).published() == state
    assert beliefs(config) == before
    assert sli.run(config, as_of=AS_OF).plan.from_scratch


def test_a_migration_that_needs_it_recomputes_everything_in_one_commit(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {**formats.STEPS, formats.FORMAT: formats.Step("tiles gain a column", lambda state: state, recompute=True)}
    monkeypatch.setattr(formats, "STEPS", steps)
    monkeypatch.setattr(formats, "FORMAT", formats.FORMAT + 1)
    chosen = plan(config, as_of=AS_OF)
    assert str(chosen.migration).endswith("tiles gain a column; everything is recomputed from the logs")
    assert chosen.tiles == chosen.tiles_total
    for asked in (lambda: verify(config), lambda: sli.query(config, "accuracy")):
        with pytest.raises(StoreError, match="the store has an older format"):
            asked()
    with pytest.raises(StoreError, match="a run of an older as_of"):
        sli.run(config, as_of=AS_OF - timedelta(days=1))
    before = beliefs(config)
    commits = len(Store(config.store).results().history())
    sli.run(config, as_of=AS_OF)
    assert len(Store(config.store).results().history()) == commits + 1
    # The late feedback was held; computed anew it counts.
    assert len(beliefs(config)) == len(before)
    assert verify(config, windows=None).equal
    assert plan(config, as_of=AS_OF).empty


def test_a_store_of_a_newer_version_is_refused_untouched_by_whatever_opens_it(
    config: Config, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    newer = formats.FORMAT + 1
    given_format(config, format=newer, partitions_by_model=True)
    make_store.log(make_store.logs(3))
    before = bytes_of(config)
    interval = {"start": make_store.BEGIN, "end": AS_OF}
    for call in (
        lambda: sli.run(config),
        lambda: plan(config),
        lambda: sli.read(config),
        lambda: sli.read(config.store, table="revisions"),
        lambda: sli.query(config, "accuracy"),
        lambda: verify(config),
        lambda: sli.backfill(config, **interval),
        lambda: plan_backfill(config, **interval),
        lambda: compare_slices(config, "accuracy"),
    ):
        with pytest.raises(StoreError, match="written by a newer version") as caught:
            call()
        assert caught.value.found == f"format {newer}"
        assert caught.value.expected == f"format {formats.FORMAT} or older, which this version knows"
        assert "upgrade sli" in caught.value.todo
    assert main(["run", str(tmp_path / "sli.yaml")]) == 4
    assert "Traceback" not in capsys.readouterr().err
    assert bytes_of(config) == before


@pytest.mark.parametrize("change", [{"nobody_knows": 1}, {"needs": {"held": [[1]]}}, {"format": "five"}])
def test_a_state_that_makes_no_sense_is_a_store_error(config: Config, change: dict[str, Any]) -> None:
    given_format(config, **change)
    with pytest.raises(StoreError):
        sli.run(config)
    with pytest.raises(StoreError):
        sli.read(config)


def test_the_hash_of_a_config_is_the_one_of_each_format_and_new_keys_at_their_default_leave_it(
    old: tuple[int, Config],
) -> None:
    _, config = old
    state = Store(config.store).published()
    assert state is not None
    assert config.base == state.base
    assert dict(state.series) == {each.name: config.definition(each) for each in config.declared}


def test_what_hours_needed_in_format_5_they_need_now() -> None:
    """Four lists of intervals became one map, and no tile lost a need."""
    gaps = {"sum_a": [{"start": 4, "end": 5}], "sum_b": []}
    lists = {
        "pending": [{"start": 1, "end": 2}],
        "unchecked": [{"start": 2, "end": 3}],
        "held": [{"start": 3, "end": 4}],
    }
    state = formats.in_current_format({**lists, "gaps": gaps, "audited": 7, "keyed": "h", "format": 5}, "")
    needs = {RECOMPUTE: [Interval(1, 2)], CONFIRM: [Interval(2, 3)], HELD: [Interval(3, 4)]}
    assert Needs.from_json(state.pop("needs")) == Needs({**needs, lacks("sum_a"): [Interval(4, 5)]})
    assert state == {"audit_sequence": 7, "id_hash": "h", "format": 5}


def test_whoever_changes_what_is_stored_gives_it_a_new_format() -> None:
    shape = {
        "tables": {name: [str(schema), partitions] for name, (schema, partitions) in LAYOUT.items()},
        "state": {
            kind.__name__: [field.name for field in fields(kind)]
            for kind in (Published, Needs, Interval, Backfill, Listed)
        },
    }
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:12]
    assert (formats.FORMAT, digest) == (8, SHAPE), (
        "add a format and a step to planning/formats.py, and a store of it here"
    )
