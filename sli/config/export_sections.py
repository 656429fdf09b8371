"""The section `export`: the sinks that get what is published. No tile and no value depends on it.

Limit: whether a sink can be reached is seen when something is sent to it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sli.config.sections import Section

NAMES = "a list of names"


class PrometheusSink(Section):
    """What Prometheus gets: of which SLIs, grains and slices, and the file that node_exporter reads."""

    textfile: str | None = Field(
        default=None, description="a file like sli.prom, or the folder of the textfile collector"
    )
    slis: tuple[str, ...] | None = Field(default=None, description=f"{NAMES}, for example [recall]")
    grains: tuple[str, ...] | None = Field(default=None, description=f"{NAMES}, for example [hour, 7d/1d]")
    slices: Annotated[int, Field(ge=0)] = Field(default=20, description="a whole number, 0 or more")
    """How many of the largest slices, besides the whole."""
    series: Annotated[int, Field(ge=1)] = Field(default=10_000, description="a whole number, 1 or more")
    """More series than that are refused."""


class Export(Section):
    """The sinks, each with what it needs."""

    prometheus: PrometheusSink = Field(default=PrometheusSink(), description="{textfile: ..., grains: [day]}")
