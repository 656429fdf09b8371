"""The state that a publication leaves: all that the next plan rests on, as JSON beside the commit of `results`.

Limit: whoever adds a key here, or changes what one means, gives the store a new format (`formats`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sli.calendar.interval import Interval
from sli.engine.storage import plain
from sli.errors import StoreError
from sli.planning import formats
from sli.planning.request import Backfill


@dataclass(frozen=True)
class Published:
    """What the last visible run left: all that the next plan rests on besides the inputs it saw."""

    sequence: int
    run_id: str
    as_of: int
    base: str
    newest: int
    states: tuple[str, ...]
    slice_sets: tuple[tuple[str, ...], ...]
    grains: tuple[str, ...]
    series: Mapping[str, str]
    objectives: Mapping[str, str | None]
    pending: tuple[Interval, ...] = ()
    unchecked: tuple[Interval, ...] = ()
    held: tuple[Interval, ...] = ()
    gaps: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)
    """For each state the tiles that lack it."""
    backfills: tuple[Backfill, ...] = ()
    """The unfinished ones."""
    audited: int = 0
    """The publication whose audit stands."""
    keyed: str = ""
    """The hash that `keys` holds of every id of the files seen; empty where it does not."""
    timezone: str = ""
    """Of the days; empty in a store of an older form."""
    versions: Mapping[str, int] = field(default_factory=dict)
    format: int = field(default_factory=lambda: formats.FORMAT)
    """The one it was found in; it is written in that of this program."""

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "format": formats.FORMAT}, sort_keys=True)

    @staticmethod
    def from_json(text: str, where: str = "") -> Published:
        """Raises StoreError where it is of a newer format or cannot be read."""
        try:
            return Published._of(formats.migrated(json.loads(text), where))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(
                "the published state of the store cannot be read",
                where=where,
                found=f"{type(error).__name__}: {plain(error)}",
                todo="restore the store from a copy, or upgrade sli",
            ) from error

    @staticmethod
    def _of(tree: dict[str, Any]) -> Published:
        for name in ("pending", "unchecked", "held"):
            tree[name] = tuple(Interval(**each) for each in tree.get(name, ()))
        tree["gaps"] = {
            state: tuple(Interval(**each) for each in where) for state, where in tree.get("gaps", {}).items()
        }
        tree["backfills"] = tuple(
            Backfill(each["id"], Interval(**each["interval"]), tuple(each["slis"]), each["done"])
            for each in tree.get("backfills", ())
        )
        for name in ("states", "grains"):
            tree[name] = tuple(tree[name])
        tree["slice_sets"] = tuple(tuple(each) for each in tree["slice_sets"])
        return Published(**tree)

    @property
    def migration(self) -> formats.Migration | None:
        """What the next run does to a store of an older format."""
        return formats.migration(self.format)

    @property
    def outdated(self) -> bool:
        """Whether that recomputes everything."""
        return self.migration is not None and self.migration.recompute

    def check_current(self, where: str) -> None:
        """Raise StoreError where tiles are of an older format and must be recomputed before they are read."""
        if self.outdated:
            raise StoreError(
                "the store has an older format",
                where=where,
                expected=f"format {formats.FORMAT}",
                found=f"format {self.format}",
                todo="`sli run CONFIG` migrates it",
            )
