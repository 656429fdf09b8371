"""The publications that a reader can still need, and so the oldest version of each table that must stay.

A reader needs the newest publication, and one that was replaced less than `keep_files` ago: whoever opened it may still
read its files, and `query --as-of` and the undoing of a run go back to it. Limit: values as they were known at any time
are rows of `revisions`, and do not depend on it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

from sli.maintenance.table_log import TableLog
from sli.publishing.store import STATE_KEY, is_mended


def oldest_needed(results: TableLog, before: int) -> int | None:
    """The oldest version of `results` that was not replaced before an instant; None if there is no version."""
    versions = sorted(results.commits)
    for version, after in itertools.pairwise(versions):
        if results.commits[after].modified >= before:
            return version
    return versions[-1] if versions else None


def needed_versions(results: TableLog, before: int) -> Mapping[str, int]:
    """The oldest version of each table that a publication rests on which was not replaced before an instant.

    A table that is not named must stay whole. After an undone run an older version may be the published one again, so
    all these publications are read. Raises OSError.
    """
    oldest = oldest_needed(results, before)
    if oldest is None:
        return {}
    older = [version for version in sorted(results.commits, reverse=True) if version < oldest]
    commits = results.read([version for version in results.commits if version >= oldest])
    states, mended = list[dict[str, int]](), False
    for known in sorted(commits, key=lambda commit: commit.version):
        if text := known.info.get(STATE_KEY):
            mended = mended or is_mended(text)
            # What was published before a repair rests on tables that are elsewhere now.
            states = [*([] if is_mended(text) else states), _versions(text)]
    # A commit that adds a column publishes nothing, so the one before it is what its readers see.
    if not mended and not any(commit.version == oldest and STATE_KEY in commit.info for commit in commits):
        for version in older:
            (commit,) = results.read([version]) or (None,)
            if commit is not None and (text := commit.info.get(STATE_KEY)):
                states.append(_versions(text))
                oldest = version
                break
        else:
            return {}
    names = set[str]().union(*states)
    return {"results": oldest} | {
        name: min(state[name] for state in states if name in state) for name in names if name != "results"
    }


def _versions(state: str) -> dict[str, int]:
    return dict(json.loads(state)["versions"])
