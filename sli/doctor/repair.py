"""Repair: what the logs and the revisions can mend of a store, step by step.

A damaged table is moved away, never removed, and the run that follows recomputes everything from the logs: hours that
are final, too. Limit: history that is lost stays lost; a store whose `results` cannot be opened is not mended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sli.calendar.interval import iso
from sli.config.model import Config
from sli.doctor.damage import COMPUTED, HISTORY, Damage, damages
from sli.doctor.finding import problem_of
from sli.doctor.setup import Setup
from sli.errors import SliError
from sli.planning.as_of import latest_as_of
from sli.publishing import turns
from sli.publishing.mending import move_away, publish_without
from sli.reading.figures import counted
from sli.runs.recompute import run, taken_back


@dataclass(frozen=True)
class Step:
    """What a repair is about to do, has done, or cannot do."""

    state: Literal["begin", "done", "cannot"]
    text: str

    def to_dict(self) -> dict[str, str]:
        """As plain values."""
        return {"state": self.state, "text": self.text}


def repair(config: Config) -> Iterator[Step]:
    """Mend the store of a config, and tell each step before it is done and after. An error is the last step."""
    try:
        yield from _repair(config)
    except SliError as error:
        told = problem_of(error)
        yield Step("cannot", f"{told.text}; what to do: {told.todo}")


def _repair(config: Config) -> Iterator[Step]:
    setup = Setup(config)
    published, results = setup.published, setup.results
    if published is None or results is None:
        yield Step("done", "nothing is published yet, so nothing is to be mended")
        return
    if published.as_of > latest_as_of():
        yield Step("begin", f"take back what was published as of the future, {iso(published.as_of)}")
        before = taken_back(config)
        yield Step("done", f"the results are as of {iso(before.as_of)} again" if before else "nothing to take back")
        setup = Setup(config)
        published, results = setup.published, setup.results
        assert published is not None
        assert results is not None
    found = damages(setup.store, published, results)
    if not found:
        yield Step("done", "the tables are whole, so nothing is to be mended")
        return
    if lack := _lack_of_logs(setup, found):
        yield Step("cannot", lack)
        return
    yield from _mended(setup, found)


def _lack_of_logs(setup: Setup, found: Mapping[str, Damage]) -> str:
    """Why the logs do not suffice to compute what is damaged; empty if they do."""
    published = setup.published
    seen, there = published.listed.files if published else 0, len(setup.inputs.files)
    if there >= seen or found.keys() <= {*HISTORY}:
        return ""
    return (
        f"the logs have {there:,} files, and the last run saw {seen:,}: computed from these, older windows would lose "
        "their values. What to do: restore the logs, or restore the store from a copy"
    )


def _mended(setup: Setup, found: Mapping[str, Damage]) -> Iterator[Step]:
    """Move damaged tables away, publish without them, and run."""
    store, stamp = setup.store, iso(setup.now).replace(":", "").replace("-", "")
    forgotten = {name: damage.files for name, damage in found.items() if damage.kind == "files"}
    lost = [name for name in found if name not in forgotten]
    from_revisions = "results" in found and "revisions" not in found
    with turns.Turn(store.root, store.storage) as turn:
        turn.take()
        for name, damage in found.items():
            yield Step("begin", f"{damage.text}: {_what_is_done(name, damage, from_revisions)}")
        for name in lost:
            place = move_away(store, name, stamp)
            yield Step("done", f"table {name}: " + (f"moved to {place}" if place else "nothing was left of it"))
        publish_without(store, lost, forgotten, found.keys())
        yield Step("done", "what is published is published again, without what is damaged")
    if not found.keys() <= {*HISTORY}:
        files = counted(len(setup.inputs.files), "file")
        yield Step("begin", f"recompute every hour from {files} of the logs, as `sli run` does")
    outcome = run(setup.config)
    yield Step(
        "done",
        f"recomputed {counted(outcome.tiles, 'hour')} as of {iso(outcome.plan.as_of)}; "
        f"{counted(outcome.changes.changed, 'result')} changed, added or removed",
    )


def _what_is_done(name: str, damage: Damage, from_revisions: bool) -> str:
    if name == "results":
        source = "the revisions" if from_revisions else "the logs, since the revisions are damaged, too"
        return f"its rows are written again from {source}"
    if name in COMPUTED:
        how = "forget these files" if damage.kind == "files" else "move it away"
        return f"{how}, and recompute the table from the logs"
    if damage.kind == "files":
        return "forget these files; the history that they had is lost"
    lost = "what was known earlier" if name == "revisions" else "what earlier runs did"
    return f"move it away, and begin a new one: {lost} is lost, unless you restore it from a copy"
