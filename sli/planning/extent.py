"""The extent of results: SLIs (their definitions and objectives), grains and slice sets, each with each.

What one extent has and another lacks is new, gone, or left for later. Limit: it says nothing of windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sli.config.model import Config
from sli.slices import SliceBy


@dataclass(frozen=True)
class Extent:
    """SLIs, grains and slice sets, each with each.

    >>> before = Extent({"recall": "a1"}, {"recall": None}, ("day",), ((),))
    >>> now = Extent({"recall": "b2"}, {"recall": None}, ("day", "hour"), ((),))
    >>> (now - before).changed, (now - before).grains, (now - before).slice_sets
    (('recall',), ('hour',), ())
    """

    series: Mapping[str, str] = field(default_factory=dict)
    """The definition of each SLI by its name."""
    objectives: Mapping[str, str | None] = field(default_factory=dict)
    """The objective of each SLI, as its text."""
    grains: tuple[str, ...] = ()
    slice_sets: tuple[SliceBy, ...] = ()

    @staticmethod
    def declared(config: Config) -> Extent:
        """What a config asks for."""
        return Extent(
            {sli.name: config.definition(sli) for sli in config.declared},
            {sli.name: sli.objective.text if sli.objective else None for sli in config.declared},
            tuple(grain.name for grain in config.all_grains),
            config.slice_sets,
        )

    def __bool__(self) -> bool:
        return bool(self.series or self.objectives or self.grains or self.slice_sets)

    def __sub__(self, other: Extent) -> Extent:
        """The definitions, objectives, grains and slice sets that the other lacks."""
        return Extent(
            {name: text for name, text in self.series.items() if other.series.get(name) != text},
            {
                name: text
                for name, text in self.objectives.items()
                if name not in other.objectives or other.objectives[name] != text
            },
            tuple(grain for grain in self.grains if grain not in other.grains),
            tuple(columns for columns in self.slice_sets if columns not in other.slice_sets),
        )

    def slis_in(self, some: Extent) -> tuple[str, ...]:
        """The names of the SLIs that have something in `some` extent in every grain: all, if a slice set is there."""
        return tuple(self.series) if some.slice_sets else some.changed

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of SLIs with a definition or an objective here."""
        return tuple(dict.fromkeys([*self.series, *self.objectives]))
