"""The format of a store: its number, and the steps that migrate a store of an older format.

A published state names its format. A store of a newer format is refused when it is opened, before anything is written.
A store of an older format can be read, and the next run migrates it in the same commit that publishes its results.
Limit: versions of sli before the number (format 4) refuse a newer store with a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sli.calendar.interval import Interval
from sli.errors import StoreError
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE, Needs, lacks

Stored = dict[str, Any]
"""A published state as read from JSON."""
FORMAT = 8
"""The current format. If you change the columns of a table or the published state, raise it and add a step to STEPS."""
UNNAMED = 4
"""The format of a state that does not name its format."""


@dataclass(frozen=True)
class Step:
    """How a store gets from one format to the next."""

    what: str
    """What is done, in words for the user."""
    state: Callable[[Stored], Stored] | None = None
    """Converts the published state to the next format; None: it stays the same."""
    recompute: bool = False
    """Whether the tables cannot be kept: everything is recomputed from the logs."""
    looks_ids_up: bool = False
    """Whether other predictions of an id may count than before: all ids are looked up, and the tiles recomputed where
    that is so."""


def _one_map_of_needs(state: Stored) -> Stored:
    """The state with one map of needs for four lists of intervals, and two fields by the names that the code has."""
    gaps = {lacks(name): tiles for name, tiles in state.get("gaps", {}).items()}
    lists = {RECOMPUTE: state.get("pending", ()), CONFIRM: state.get("unchecked", ()), HELD: state.get("held", ())}
    needs = Needs({need: [Interval(**ends) for ends in tiles] for need, tiles in {**lists, **gaps}.items()})
    renamed = {
        new: state[old] for old, new in {"audited": "audit_sequence", "keyed": "id_hash"}.items() if old in state
    }
    gone = {"pending", "unchecked", "held", "gaps", "audited", "keyed"}
    return {name: value for name, value in state.items() if name not in gone} | {"needs": needs.to_json(), **renamed}


STEPS: Mapping[int, Step] = {
    4: Step("the published state names its format; no other table changes"),
    5: Step("the published state has one map of what hours still need; no other table changes", _one_map_of_needs),
    6: Step(
        "predictions of one id far apart (`duplicates_within`) count each, so all ids are looked up once, "
        "and final hours that would change are held; the index of ids is written again when it is next needed",
        looks_ids_up=True,
    ),
    7: Step("the table of the files seen is partitioned by week, and the published state has a digest of each week"),
}
"""The step from each older format to the next."""


@dataclass(frozen=True)
class Migration:
    """What a run does to a store of an older format."""

    old: int
    new: int
    steps: tuple[str, ...]
    recompute: bool
    looks_ids_up: bool

    def __str__(self) -> str:
        steps = [*self.steps, "everything is recomputed from the logs"] if self.recompute else self.steps
        return f"the store has format {self.old}; this run migrates it to {self.new}: {'; '.join(steps)}"

    def to_dict(self) -> dict[str, object]:
        """As plain values."""
        return {"from": self.old, "to": self.new, "steps": list(self.steps), "recompute": self.recompute}


def migration(old: int) -> Migration | None:
    """The steps from a format to the current one; None if it is the current one."""
    steps = [STEPS[number] for number in range(old, FORMAT)]
    recompute = any(step.recompute for step in steps)
    looks_ids_up = any(step.looks_ids_up for step in steps)
    return Migration(old, FORMAT, tuple(step.what for step in steps), recompute, looks_ids_up) if steps else None


def in_current_format(state: Stored, where: str) -> Stored:
    """A published state in the current format; its `format` stays the one found. Raises StoreError for a newer one."""
    old = state.get("format", UNNAMED)
    if not isinstance(old, int) or old > FORMAT:
        raise StoreError(
            "the store was written by a newer version of sli",
            where=where,
            expected=f"format {FORMAT} or older, which this version knows",
            found=f"format {old}",
            todo="upgrade sli; nothing was changed",
        )
    for number in range(old, FORMAT):
        change = STEPS[number].state
        state = state if change is None else change(state)
    return {**state, "format": old}
