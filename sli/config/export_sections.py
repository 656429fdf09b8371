"""The section `export`: the sinks that get what is published. No tile and no value depends on it.

Limit: whether a sink can be reached is seen when something is sent to it.
"""

from __future__ import annotations

from sli.config.sections import Section


class Export(Section):
    """The sinks, each with what it needs."""
