"""The as_of of a run: not before `since`, and in the future only if the user says so.

Results published as of the future would hide everything that becomes known until then. So a run as of the future needs
`future`, and even then it is refused if results are published as of today. Limit: up to a day ahead is allowed, since
clocks differ.
"""

from __future__ import annotations

import time

from sli.calendar.duration import DAY, SECOND
from sli.calendar.interval import iso
from sli.calendar.zone import Zone
from sli.config.arguments import When, instant_of
from sli.errors import ConfigError, StoreError
from sli.planning.published import Published
from sli.planning.request import Request


def latest_as_of() -> int:
    """The latest as_of that needs no `future`."""
    return int(time.time()) * SECOND + DAY


def as_of_instant(since: int, zone: Zone, as_of: When, future: bool = False) -> int:
    """An as_of as an instant in microseconds; None means now. Raises ConfigError before `since` or in the future."""
    instant = int(time.time()) * SECOND if as_of is None else instant_of(zone, "as_of", as_of)
    if instant < since:
        todo = f"use a time after since ({iso(since)})"
        raise ConfigError("as_of lies before since", where="as_of", found=iso(instant), todo=todo)
    if instant > latest_as_of() and not future:
        raise ConfigError(
            "as_of lies in the future",
            where="as_of",
            expected=f"{iso(latest_as_of())} or earlier",
            found=iso(instant),
            todo="leave it out, which means now; `sli plan --future` shows what a run would do then",
        )
    return instant


def check_published(published: Published | None, request: Request, where: str) -> None:
    """Raise StoreError for a store published as of the future, unless the request has `future`."""
    if published is not None and published.as_of > latest_as_of() and not request.future:
        raise StoreError(
            "the store is published as of a time in the future, so nothing known until then would replace it",
            where=where,
            expected=f"an as_of of {iso(latest_as_of())} or earlier, by the clock of this machine",
            found=iso(published.as_of),
            todo="`sli run CONFIG --undo-future` takes that back and goes on from what was published before (if "
            "nothing was, remove the store and run again); add --future if the times in the logs are made up",
        )


def check_publication(published: Published | None, request: Request, where: str) -> None:
    """Raise ConfigError if values published as of the future would hide values as of today."""
    check_published(published, request, where)
    if published is not None and request.as_of > latest_as_of() >= published.as_of:
        raise ConfigError(
            "as_of lies in the future: published, it would hide everything that becomes known until then",
            where="as_of",
            expected="a store in which nothing is published yet, or only as of the future",
            found=f"{iso(request.as_of)}; the store is published as of {iso(published.as_of)}",
            todo="use another store (`--set store=PATH`), or `sli plan --future`, which writes nothing",
        )
