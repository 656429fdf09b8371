"""What several checks of a set-up look at, found once. Limit: it is as of the moment when it was first asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property

from sli.calendar.duration import SECOND
from sli.config.model import Config
from sli.errors import SliError
from sli.logs.discovery import discover
from sli.logs.files import Inputs
from sli.logs.listing import Listing
from sli.logs.paths import list_files
from sli.planning.published import Published
from sli.publishing.delta_tables import Table
from sli.publishing.store import Store


@dataclass(frozen=True)
class Setup:
    """A config, with its logs and its store. Properties raise SliError where one cannot be read."""

    config: Config
    now: int = field(default_factory=lambda: int(time.time()) * SECOND)
    """This machine's clock, in microseconds."""

    @cached_property
    def listings(self) -> dict[str, Listing | SliError]:
        """The files of each log, by its place in the config, or why they cannot be listed."""
        listings: dict[str, Listing | SliError] = {}
        for key, source in self.config.sources.items():
            try:
                listings[key] = list_files(key, source.path, self.config.storage)
            except SliError as error:
                listings[key] = error
        return listings

    @cached_property
    def inputs(self) -> Inputs:
        """The files of both logs with what their footers say."""
        return discover(self.config)

    @cached_property
    def store(self) -> Store:
        return Store(self.config.store, self.config.storage)

    @cached_property
    def results(self) -> Table | None:
        """The table of results, or None if there is none yet."""
        return self.store.results()

    @cached_property
    def published(self) -> Published | None:
        """The last published state, or None before the first publication."""
        return self.store.published_state(self.results)
