"""The publication believed at an earlier instant, whose tiles are older versions of the tables.

A run with an older as_of than what was published adds to the history of results, but keeps no tiles. Limit: files of
an older publication stay for `keep_files` only, by default for 7 days; the history of results stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa

from sli.calendar.interval import iso
from sli.calendar.zone import Zone, zone
from sli.errors import ConfigError, StoreError
from sli.planning.published import Published
from sli.publishing.store import MissingVersion, Store

READ_INSTEAD = "`sli show --as-of` and `sli.read(as_of=...)` read the windows that were published then"


def publication_at(
    store: Store, published: Published, history: Iterable[tuple[int, Published]], as_of: int
) -> tuple[int, Published]:
    """The publication that was believed at an instant: the one with the largest as_of, of equal ones the last.

    With the version of `results` that its commit made. `published` is the newest one, and `history` yields those before
    it, the newest first. Raises ConfigError if there was none yet, StoreError if what was believed then has no tiles.
    """
    runs = store.rows("runs", published, ["sequence", "as_of"])
    instants = runs.column("as_of").cast(pa.int64()).to_numpy().tolist()
    beliefs = sorted(zip(instants, runs.column("sequence").to_numpy().tolist(), strict=True))
    known = [belief for belief in beliefs if belief[0] <= as_of]
    if not known:
        raise before_the_first(zone(published.timezone or "UTC"), beliefs[0][0], as_of)
    believed, sequence = known[-1]
    # The newest first: a number that was taken back is used again.
    version, past = next((commit for commit in history if commit[1].sequence == sequence), (0, None))
    if past is None:
        raise _gone(f"the log of `results` no longer has the commit of the run as of {iso(believed)}", store.root)
    if past.as_of != believed:
        raise StoreError(
            "what is known of that time has no tiles, because a run told it afterwards",
            where="as_of",
            expected="a time for which no run was made after one with a later as_of",
            found=f"{iso(as_of)}: a run as of {iso(believed)} came after one as of {iso(past.as_of)}",
            todo=READ_INSTEAD,
        )
    if past.outdated:
        raise _gone(f"tiles of format {past.format}, which this version cannot merge", store.root)
    return version, past


def before_the_first(zone: Zone, first: int, as_of: int) -> ConfigError:
    """The error of an instant before the as_of of the first run."""
    return ConfigError(
        "nothing was published yet at that time",
        where="as_of",
        expected=f"{zone.text(first)} or later, the as_of of the first run",
        found=zone.text(as_of),
    )


@contextmanager
def old_versions(store: Store, published: Published) -> Iterator[None]:
    """A context for reading the tables that an earlier publication rests on: a version that is gone is named so."""
    try:
        yield
    except StoreError as error:
        if not isinstance(error, MissingVersion) and not _lacks_file(error):
            raise
        raise _gone(f"as of {iso(published.as_of)}: {error.found}", error.where or store.root) from error


def _lacks_file(error: StoreError) -> bool:
    """Whether the cause is that a file of a table does not exist."""
    cause = error.__cause__
    return isinstance(cause, FileNotFoundError) or "not found" in str(cause).lower()


def _gone(found: str, where: str) -> StoreError:
    what = "the tiles of that time are no longer in the store"
    return StoreError(what, where=where, found=found, todo=READ_INSTEAD)
