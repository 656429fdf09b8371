"""A migration that is cut off anywhere leaves a whole store, and no command touches a store of a newer version."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from faulty import Action, On, fails, faulty, loses_its_answer, torn
from fixtures import make_store
from old_stores import AS_OF, WRITTEN_BY, beliefs, bytes_of, given_format, opened

import sli
from sli.command.cli import main
from sli.config.model import Config
from sli.planning import formats
from sli.publishing.store import Store
from sli.reading.verify import verify

LATER = AS_OF + timedelta(hours=1)
OLD = sorted(number for number in WRITTEN_BY if number < formats.FORMAT)


class Killed(BaseException):
    """The end of a process, as far as the process can tell."""


WAYS: dict[str, Action] = {"before": fails(Killed()), "within": torn(Killed()), "after": loses_its_answer(Killed())}


def run(config: Config, *rules: On) -> list[str]:
    """A run that migrates and has new files; the names of its writes in their order."""
    make_store.log(make_store.logs(3))
    with faulty(*rules) as script:
        sli.run(config, as_of=LATER)
    return [call.name for call in script.calls if call.writes]


def cut_off(number: int, folder: Path, name: str, nth: int, way: str, after: list[str]) -> None:
    """Cut a migrating run off at its nth write of a name; `after`: what is published once the next run is done."""
    with opened(number, folder) as config:
        before = beliefs(config)
        with pytest.raises(Killed):
            run(config, On(name, WAYS[way], nth))
        state = Store(config.store).published()
        assert state is not None
        assert state.format in (number, formats.FORMAT)
        assert beliefs(config) == (before if state.format == number else after), (
            "the format and its rows are one commit"
        )
        run(config)
        state = Store(config.store).published()
        assert state is not None
        assert state.migration is None
        assert beliefs(config) == after
        assert verify(config, windows=9).equal


def writes_and_beliefs(number: int, folder: Path) -> tuple[list[str], list[str]]:
    """The writes of a migrating run that nothing disturbs, and what is published then."""
    with opened(number, folder) as config:
        return run(config), beliefs(config)


def test_a_migration_cut_off_around_its_commit_leaves_the_old_store_or_the_new_one(tmp_path: Path) -> None:
    """From the oldest format, which takes every step."""
    _, after = writes_and_beliefs(OLD[0], tmp_path / "whole")
    for name in ("write tiles", "write runs", "write results"):
        cut_off(OLD[0], tmp_path / name, name, 1, "after", after)


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", OLD)
def test_a_migration_from_any_format_cut_off_anywhere_leaves_the_old_store_or_the_new_one(
    tmp_path: Path, number: int, way: str
) -> None:
    writes, after = writes_and_beliefs(number, tmp_path / "whole")
    assert len(writes) > 4
    for place, name in enumerate(writes):
        cut_off(number, tmp_path / str(place), name, writes[: place + 1].count(name), way, after)


COMMANDS = [
    ["run"],
    ["plan"],
    ["backfill", "--start", "2024-03-08", "--end", "2024-03-09"],
    ["show"],
    ["show", "--table", "audit"],
    ["query", "labelled"],
    ["sql", "from current"],
    ["slices"],
    ["compare", "labelled", "--slices", "site=a,b"],
    ["explain", "labelled"],
    ["report", "-o", "page.html"],
    ["export", "prometheus", "--textfile", "sli.prom"],
    ["verify"],
    ["status"],
    ["gc"],
    ["gc", "--dry-run"],
    ["doctor"],
    ["doctor", "--repair"],
]


def test_no_command_touches_a_store_of_a_newer_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(formats.FORMAT, tmp_path) as config:
        given_format(config, format=formats.FORMAT + 1, partitions_by_model=True)
        make_store.log(make_store.logs(3))
        before = bytes_of(config)
        for name, *rest in COMMANDS:
            where = rest[:1] if name == "export" else []
            code = main([name, *where, str(tmp_path / "sli.yaml"), *rest[len(where) :]])
            said = capsys.readouterr()
            told = said.out + said.err
            assert code in (4, 5) if name in ("doctor", "status") else code == 4, (name, rest, code, told)
            assert "written by a newer version" in told, (name, rest, told)
            assert "upgrade sli" in told
            assert "Traceback" not in told
            assert bytes_of(config) == before, f"{name} changed the store"
    assert not (tmp_path / "page.html").exists()
