"""A model that is served: its newest publication, those believed earlier, and what was made of each.

What is made of a publication is kept until newer ones need the room; a look at the log of the store tells whether a
newer one exists. Limit: on S3 the store is looked at once a second at most.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from sli.calendar.duration import SECOND
from sli.calendar.interval import iso
from sli.config.arguments import instant_of
from sli.config.model import Config
from sli.config.several import Model
from sli.errors import SliError, StoreError
from sli.export.prometheus import Metric, metrics_of
from sli.judging.standing import problems
from sli.planning.needs import CONFIRM, HELD, RECOMPUTE
from sli.planning.published import Published
from sli.publishing.store import Store
from sli.reading.publication import Publication, check_fits, newest_or_none, pinned
from sli.report.contents import Contents, gathered
from sli.report.index import file_names
from sli.report.page import rendered
from sli.serve.reading import view_table
from sli.serve.views import View, sli_in, slice_in
from sli.serve.windows import chunk_of, sizes_of

KEPT = 64
"""How many answers of a model are kept, the last ones asked for."""
LOOK = 1.0
"""How many seconds may pass before a store on S3 is looked at again."""
Answer = TypeVar("Answer")


class Kept:
    """Answers by their key, the last ones asked for; each is made once, and one at a time."""

    def __init__(self, most: int = KEPT) -> None:
        self._most, self._answers = most, OrderedDict[Hashable, Any]()
        self._making, self._changing = threading.RLock(), threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Answer]) -> Answer:
        """The answer of a key, made if there is none. Raises what `make` raises."""
        with self._changing:
            if key in self._answers:
                self._answers.move_to_end(key)
                return cast("Answer", self._answers[key])
        # One at a time, so that what is merged for it takes the memory of one task.
        with self._making:
            if key in self._answers:
                return cast("Answer", self._answers[key])
            answer = make()
        with self._changing:
            self._answers[key] = answer
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        return answer


@dataclass
class Served:
    """One model. `config` is why it cannot be served, if its config cannot be used."""

    name: str
    address: str
    """Its part of the path."""
    config: Config | SliError
    kept: Kept = field(default_factory=Kept)
    _newest: Publication | None = None
    _seen: object = None
    _looking: threading.Lock = field(default_factory=threading.Lock)

    def checked(self) -> Config:
        """Its config. Raises SliError."""
        if isinstance(self.config, SliError):
            raise self.config
        return self.config

    def publication(self, as_of: str | None = None) -> Publication | None:
        """The newest publication, or the one believed at `as_of`; None before the first. Raises SliError."""
        config = self.checked()
        with self._looking:
            seen = state_of(config)
            if seen is None or seen != self._seen or self._newest is None:
                found = newest_or_none(config)
                # Questions come again and again, so tiles that were read stay in memory.
                self._newest = None if found is None else replace(found, kept_tiles={})
                self._seen = seen
            newest = self._newest
        if newest is None:
            return None
        publication = newest
        if as_of:
            instant = instant_of(config.zone, "as_of", as_of)
            key = ("publication", key_of(newest), instant)
            publication = self.kept.get(key, lambda: newest.believed(instant))
        check_fits(publication)
        return publication

    def published(self, as_of: str | None) -> Publication:
        """The publication, of which there must be one. Raises SliError."""
        publication = self.publication(as_of)
        if publication is None:
            raise StoreError("nothing is published yet", where=self.name, todo="`sli run CONFIG` first")
        return publication

    def contents(self, publication: Publication) -> Contents:
        """What the page shows of a publication. Raises SliError."""

        def make() -> Contents:
            with pinned(publication):
                contents = gathered(publication.config)
            assert contents is not None
            return contents

        return self.kept.get(("contents", key_of(publication)), make)

    def chunk(self, publication: Publication, contents: Contents, view: View) -> bytes:
        """The windows of a view, gzipped JSON; made once for page and data. Raises SliError."""
        name, at = sli_in(publication.config, view), slice_in(view, contents.slices)
        size, every = sizes_of(contents, view)
        windows = (size, every or size, name if view.sli else None) if size else (view.grain,)
        key = ("data", key_of(publication), at, windows, view.start, view.end)
        return self.kept.get(key, lambda: chunk_of(publication, contents, view))

    def page(self, publication: Publication | None, view: View) -> str:
        """The page of a view. Raises SliError."""
        if publication is None:
            return rendered(self.checked(), None)
        live = {
            "data": f"/{self.address}/data",
            "health": f"/{self.address}/healthz",
            "run": publication.published.run_id,
        }
        contents = self.contents(publication)

        def make() -> str:
            shown = view_table(publication, contents, view, self.chunk(publication, contents, view))
            return rendered(publication.config, contents, None, live, shown)

        return self.kept.get(("page", key_of(publication), view), make)

    def metrics(self) -> Sequence[Metric]:
        """The newest windows as metrics, made once; none before the first publication. Raises SliError."""
        publication = self.publication()
        if publication is None:
            return ()
        return self.kept.get(("metrics", key_of(publication)), lambda: metrics_of(publication))

    def health(self) -> dict[str, object]:
        """What is published, and whether it can be read: `ok`, or the problem in words."""
        try:
            publication = self.publication()
        except SliError as error:
            return {"model": self.name, "ok": False, "problem": str(error)}
        if publication is None:
            return {"model": self.name, "ok": True, "problem": "nothing published yet", "run": None}
        return {"model": self.name, "ok": True, **health_of(publication.published)}


def health_of(published: Published) -> dict[str, object]:
    """Times as ISO 8601; `age_seconds` is how long ago the run's as_of is.

    `waiting` and `held` are stretches of hours, `problems` the lines of the page's banner.
    """
    return {
        "run": published.run_id,
        "as_of": iso(published.as_of),
        "age_seconds": max(0, time.time_ns() // 1000 - published.as_of) // SECOND,
        "newest": iso(published.newest),
        "waiting": [str(interval) for interval in published.needs.of(RECOMPUTE, CONFIRM)],
        "held": [str(interval) for interval in published.needs.of(HELD)],
        "problems": problems(published),
    }


def key_of(publication: Publication) -> Hashable:
    return publication.published.sequence, publication.published.run_id, publication.version


def state_of(config: Config) -> object:
    """Something that changes with each commit of `results`; None if it is not known without opening the table."""
    tables = Store(config.store, config.storage).tables
    if not tables.local:
        return int(time.monotonic() / LOOK)
    folder = f"{tables.uri('results')}/_delta_log"
    try:
        with os.scandir(folder) as entries:
            newest = max((file.name for file in entries if file.name.endswith(".json")), default="")
        status = os.stat(f"{folder}/{newest}")
    except OSError:
        return None
    return newest, status.st_ino, status.st_mtime_ns


def served_models(models: Sequence[Model]) -> dict[str, Served]:
    """The models by their part of the path, in their order."""
    names = [name.removesuffix(".html") for name in file_names([model.name for model in models])]
    return {
        address: Served(name=model.name, address=address, config=model.config)
        for address, model in zip(names, models, strict=True)
    }
