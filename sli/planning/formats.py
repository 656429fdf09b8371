"""The format of a store: its number, and the steps that lead there from older ones.

A published state names its format. A state of a newer format is refused by whatever opens the store, before anything is
written; one of an older format is read as if it had this one, and the next run writes it so, in the one commit by which
it publishes. Limit: versions of sli that knew no number (format 4) refuse a newer store by a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sli.errors import StoreError

FORMAT = 5
"""Whoever changes a table's columns or the published state adds one here, and a step to STEPS."""
UNNAMED = 4
"""The format of a state that names none."""


@dataclass(frozen=True)
class Step:
    """How a store comes from a format to the next one."""

    what: str
    """What is done, as people are told beforehand."""
    state: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """The published state in the next format; None: it is the same."""
    recompute: bool = False
    """Whether the tables cannot be carried over: everything is recomputed from the logs."""


STEPS: Mapping[int, Step] = {4: Step("the published state names its format; no other table changes")}
"""By the format they lead on from."""


@dataclass(frozen=True)
class Migration:
    """What a run does to a store of an older format."""

    found: int
    known: int
    steps: tuple[str, ...]
    recompute: bool

    def __str__(self) -> str:
        steps = [*self.steps, "everything is recomputed from the logs"] if self.recompute else self.steps
        return f"the store has format {self.found}; this run migrates it to {self.known}: {'; '.join(steps)}"

    def to_dict(self) -> dict[str, Any]:
        return {"from": self.found, "to": self.known, "steps": list(self.steps), "recompute": self.recompute}


def migration(found: int) -> Migration | None:
    """What leads from a format to this program's; None where it is the same."""
    steps = [STEPS[number] for number in range(found, FORMAT)]
    recompute = any(step.recompute for step in steps)
    return Migration(found, FORMAT, tuple(step.what for step in steps), recompute) if steps else None


def migrated(state: dict[str, Any], where: str) -> dict[str, Any]:
    """A published state as this program has it; `format` stays the one found. Raises StoreError for a newer one."""
    found = state.get("format", UNNAMED)
    if not isinstance(found, int) or found > FORMAT:
        raise StoreError(
            "the store was written by a newer version of sli",
            where=where,
            expected=f"format {FORMAT} or older, which this version knows",
            found=f"format {found}",
            todo="upgrade sli; nothing was changed",
        )
    for number in range(found, FORMAT):
        change = STEPS[number].state
        state = state if change is None else change(state)
    return {**state, "format": found}
