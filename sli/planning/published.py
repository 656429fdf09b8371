"""The state that a run publishes for the next plan: JSON in the metadata of the commit of `results`.

Limit: if you add a key here or change what a key means, the store needs a new format (`formats`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sli.calendar.interval import BEGINNING, Interval
from sli.engine.storage import message_of
from sli.errors import StoreError
from sli.planning import formats
from sli.planning.extent import Extent
from sli.planning.needs import Needs
from sli.planning.request import Backfill

NO_BASE = ""
"""The base of what a repair publishes: no run builds on it, so the next one recomputes everything from the logs."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a run keeps of the files that a later one need not list."""

    at: int = BEGINNING
    """The as_of of the last run that listed everything."""
    weeks: Mapping[str, str] = field(default_factory=dict)
    """A digest of the files of each week (see `listing`)."""
    tiles: int = 0
    """How many tiles may hold predictions."""
    files: int = 0
    """How many files both logs have."""
    rows: int = 0
    """How many rows the predictions log has."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the next plan needs to know of the last published run, except for the files that it saw."""

    sequence: int
    """The number of the publication, counted from 1."""
    run_id: str
    as_of: int
    base: str
    """Hash of the keys of the config that all tiles depend on. If it changes, everything is recomputed."""
    newest: int
    """End of the newest hour with predictions."""
    states: tuple[str, ...]
    slice_sets: tuple[tuple[str, ...], ...]
    grains: tuple[str, ...]
    series: Mapping[str, str]
    """The definition of each SLI."""
    objectives: Mapping[str, str | None]
    needs: Needs = field(default_factory=Needs)
    """What the run left: what tiles still need."""
    backfills: tuple[Backfill, ...] = ()
    """The unfinished backfills."""
    audit_sequence: int = 0
    """The number of the publication that wrote the current audit."""
    id_hash: str = ""
    """The name of the hash function of table `keys`; empty if the table lacks ids of the files seen."""
    timezone: str = ""
    """The zone of the days; empty in a store of an older format."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """The version of each other table that this publication rests on."""
    listed: Listed = field(default_factory=Listed)
    """What it knew of all files."""
    format: int = field(default_factory=lambda: formats.FORMAT)
    """The format of the store when it was read; `to_json` writes the current format."""

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "needs": self.needs.to_json(), "format": formats.FORMAT}, sort_keys=True)

    @staticmethod
    def from_json(text: str, where: str = "") -> Published:
        """Raises StoreError if it has a newer format or cannot be read."""
        try:
            return Published._of(formats.in_current_format(json.loads(text), where))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(
                "the published state of the store cannot be read",
                where=where,
                found=f"{type(error).__name__}: {message_of(error)}",
                todo="restore the store from a copy, or upgrade sli",
            ) from error

    @staticmethod
    def _of(stored: formats.Stored) -> Published:
        tree = dict(stored)
        tree["needs"] = Needs.from_json(tree["needs"])
        tree["backfills"] = tuple(
            Backfill(entry["id"], Interval(**entry["interval"]), tuple(entry["slis"]), entry["done"])
            for entry in tree.get("backfills", ())
        )
        tree["listed"] = Listed(**tree.get("listed", {}))
        for name in ("states", "grains"):
            tree[name] = tuple(tree[name])
        tree["slice_sets"] = tuple(tuple(columns) for columns in tree["slice_sets"])
        return Published(**tree)

    @property
    def extent(self) -> Extent:
        """What has results."""
        return Extent(self.series, self.objectives, self.grains, self.slice_sets)

    @property
    def migration(self) -> formats.Migration | None:
        """What the next run does to a store of an older format."""
        return formats.migration(self.format)

    @property
    def outdated(self) -> bool:
        """Whether the migration recomputes everything."""
        return self.migration is not None and self.migration.recompute

    def check_current(self, where: str) -> None:
        """Raise StoreError if the tiles have an older format and must be recomputed before they are read."""
        if self.outdated:
            raise StoreError(
                "the store has an older format",
                where=where,
                expected=f"format {formats.FORMAT}",
                found=f"format {self.format}",
                todo="`sli run CONFIG` migrates it",
            )
