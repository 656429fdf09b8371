"""Whether a run finds nothing to do, told by the newest commit of `results`, the config and a listing of the logs.

Reads no table, so it costs a fifth of a plan: it imports neither Arrow nor the table library. Limit: where it says no,
the plan decides; and it says no whenever anything is unusual.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sli.engine.storage import NO_OPTIONS, Storage, filesystem
from sli.logs.folder_dates import FolderDates, Older
from sli.logs.listing import digest_of
from sli.logs.paths import list_files
from sli.publishing.power_loss import COMMIT, is_whole

IDLE_KEY = "sli_idle"
"""The key of what `Idle` holds in the metadata of a commit of `results`."""


@dataclass(frozen=True)
class Idle:
    """What a run publishes for the next one: with this config and these files there is nothing to do."""

    config: str
    """The digest of the config's tree."""
    files: str
    """The digest of the files of the logs, of those that a run lists."""
    as_of: int
    until: int
    """At an as_of from `as_of` on and before `until`."""
    since: int | None = None
    """Older folders are not listed: those with dates before this week, but for those in `later`."""
    later: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def is_unchanged(tree: Mapping[str, Any], digest: str, as_of: int) -> bool:
    """Whether a run as of an instant finds nothing to do. `tree` and `digest` are those of its config.

    Raises what the storage raises.
    """
    storage = Storage.from_config(tree["storage"]) if "storage" in tree else NO_OPTIONS
    store = tree["store"]
    text = _newest_commit(store if isinstance(store, str) else store["path"], storage) if digest else ""
    for line in text.splitlines():
        published = json.loads(line).get("commitInfo", {}).get(IDLE_KEY)
        if published:
            idle = Idle(**json.loads(published))
            same = idle.config == digest and idle.as_of <= as_of < idle.until
            return same and idle.files == _digest_of_logs(tree, storage, idle)
    return False


def _digest_of_logs(tree: Mapping[str, Any], storage: Storage, idle: Idle) -> str:
    """The digest of the files of the logs that a run lists; empty unless all of them are plain Parquet files."""
    feedback = tree["feedback"] if isinstance(tree["feedback"], list) else [tree["feedback"]]
    places = [log["path"] for log in (tree["predictions"], *feedback)]
    of_logs = [place if isinstance(place, list) else [place] for place in places]
    dates = FolderDates.of_paths(path for of_log in of_logs for path in of_log)
    older = None if idle.since is None else Older(dates, idle.since, frozenset(idle.later))
    paths, fingerprints = [], []
    for of_log in of_logs:
        listed = list_files("", of_log, storage, older)
        if not listed.is_plain:
            return ""
        listed = listed.without(older)
        paths += listed.paths
        fingerprints += listed.fingerprints
    return digest_of(paths, fingerprints)


def _newest_commit(store: str, storage: Storage) -> str:
    """The text of the newest commit of the table of results; empty if there is none."""
    folder = f"{store.rstrip('/')}/results/_delta_log"
    if "://" not in folder:
        name = max((name for name in os.listdir(folder) if COMMIT.fullmatch(name)), default="")
        if not name:
            return ""
        commit = Path(folder, name).read_bytes()
        return commit.decode() if is_whole(commit) else ""
    fs, place = filesystem(folder, storage)
    fs.invalidate_cache()
    names = [path for path in fs.ls(place, detail=False) if COMMIT.fullmatch(path.rpartition("/")[2])]
    return str(fs.cat_file(max(names)).decode()) if names else ""
