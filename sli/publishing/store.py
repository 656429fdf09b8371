"""The store: Delta tables under one root, made visible together by one commit of `results`.

That commit names the versions of the other tables it rests on and carries what the next plan needs; whatever a killed
run left in the others lies after those versions and is rolled back by the next writer. Limit: like all Delta writers
on local disks it is safe against kills, not shown safe against power loss.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.engine import panics
from sli.engine.storage import NOTHING, Storage, delta_options, plain
from sli.errors import ConflictError, StoreError
from sli.logs.files import Inputs
from sli.planning.published import Published

KEY = "sli_published"
LAYOUT: dict[str, tuple[pa.Schema, list[str]]] = {
    "tiles": (schemas.TILES, ["day"]),
    "days": (schemas.DAYS, ["month"]),
    "keys": (schemas.KEYS, ["log"]),
    "inputs": (schemas.INPUTS, []),
    "audit": (schemas.AUDIT, []),
    "revisions": (schemas.REVISIONS, ["grain"]),
    "runs": (schemas.RUNS, []),
    "results": (schemas.RESULTS, ["grain", "day"]),
}
"""Schema and partition columns of each table, in the order they are written: `results` last."""
Within = Sequence[tuple[str, str, Any]]
REMOVE = "remove the whole store: the next run recomputes everything, without the history"
RESTORE = f"restore it from a copy; or {REMOVE}"
FEW_FILES = 12
"""Files that are read one after the other."""
LOGGED = re.compile(r"\d{20}\.json|\d{20}\.checkpoint\.parquet")
NEWEST = 24
"""Files of a table's log that are looked at: commits since the last checkpoint, and more."""
DAMAGED = re.compile(r"Json error|No table metadata or protocol|Parquet error|Invalid JSON|EOF while parsing")
"""What the table library says of a log that makes no sense."""


class Store:
    """The tables under `root`, a folder or an s3:// prefix."""

    def __init__(self, root: str, storage: Storage = NOTHING) -> None:
        self.root = root.rstrip("/")
        self.storage = storage
        self.options = delta_options(root, storage)
        self.local = "://" not in self.root

    def uri(self, name: str) -> str:
        return f"{self.root}/{name}"

    def handle(self, name: str, version: int | None = None) -> Any:
        """A DeltaTable, or None if there is none yet. Raises StoreError."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        if self.local and not Path(self.uri(name)).is_dir():
            return None
        if self.local:
            self._check_log(name)
        try:
            return DeltaTable(self.uri(name), version=version, storage_options=self.options)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            if isinstance(error, DeltaError) and DAMAGED.search(str(error)):
                raise self._damaged(name, plain(error)) from error
            raise StoreError(
                "the store cannot be read",
                where=self.uri(name),
                found=plain(error),
                todo="check the address and the credentials",
                passes=True,
            ) from error

    def _check_log(self, name: str) -> None:
        """Raise StoreError where a commit is an empty file, as a power cut leaves it: it would read as no commit."""
        with suppress(FileNotFoundError), os.scandir(f"{self.uri(name)}/_delta_log") as entries:
            files = sorted((each for each in entries if LOGGED.fullmatch(each.name)), key=lambda each: each.name)
            for file in files[-NEWEST:]:
                if file.stat().st_size == 0:
                    raise self._damaged(name, f"{file.name} is empty")

    def _damaged(self, name: str, found: str) -> StoreError:
        what = "the store cannot be read, since the log of a table is damaged"
        return StoreError(what, where=f"{self.uri(name)}/_delta_log", found=found, todo=RESTORE)

    def published(self) -> Published | None:
        """The last published state, or None before the first publication. Raises StoreError."""
        return self.published_in(self.results())

    def results(self) -> Any:
        """The table of results, or None where there is no store yet. Raises StoreError where only it is missing."""
        found = self.handle("results")
        if found is None and any(self.handle(name) is not None for name in LAYOUT if name != "results"):
            # It is made before any other: by now another run has made it, or it is lost.
            found = self.handle("results")
            if found is None:
                raise self.missing("results")
        return found

    def published_in(self, results: Any) -> Published | None:
        """The same of an open table, or of none."""
        if results is None:
            return None
        where = self.uri("results")
        with table_errors(where, "read"):
            # Mostly the newest commit, unless it is one of maintenance; all of them only if need be.
            for limit in (1, 20, None):
                for commit in results.history(limit):
                    if KEY in commit:
                        return Published.from_json(commit[KEY], where)
        if results.version() > 0:
            raise StoreError("the history of `results` is lost", where=where, todo=RESTORE)
        return None

    def undo_since(self, limit: int) -> Published | None:
        """Make the last publication as of `limit` or earlier the newest one; None where it is that already.

        What other tables gained since is rolled back by the next writer, as is what a killed run left. Raises
        StoreError.
        """
        from deltalake import CommitProperties

        results = self.results()
        published = self.published_in(results)
        if published is None or published.as_of <= limit:
            return None
        with table_errors(self.uri("results")):
            for commit in results.history():
                before = Published.from_json(commit[KEY], self.uri("results")) if KEY in commit else published
                if before.as_of <= limit:
                    properties = CommitProperties(custom_metadata={KEY: commit[KEY]}, max_commit_retries=0)
                    results.restore(commit["version"], commit_properties=properties)
                    return before
        raise StoreError("the store has no earlier publication to go back to", where=self.uri("results"), todo=REMOVE)

    def rows(
        self,
        name: str,
        published: Published | None,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """Rows of a table: `results` at its newest, any other as of what `published` rests on.

        Of `columns` those the table has; `within` says of partition columns what files are looked at at all, such as
        [("day", ">=", "2026-01-31")].
        Raises StoreError.
        """
        version = published.versions.get(name) if published is not None else None
        table = None if name != "results" and version is None else self.handle(name, version)
        if table is None and version:
            raise self.missing(name)
        return self.rows_in(name, table, columns, only, within)

    def rows_in(
        self,
        name: str,
        table: Any,
        columns: Collection[str] | None = None,
        only: pc.Expression | None = None,
        within: Within = (),
    ) -> pa.Table:
        """The same of an open table, or of none."""
        if table is None:
            return LAYOUT[name][0].empty_table()
        with table_errors(self.uri(name), "read"):
            if columns is None and only is None and not LAYOUT[name][1] and len(table.file_uris()) <= FEW_FILES:
                rows = self._of_few_files(name, table)
                there = rows.schema.names
            else:
                found = table.to_pyarrow_dataset(
                    file_pruning_predicate=list(within) or None, filesystem=self._folder(name)
                )
                there = found.schema.names
                kept = None if columns is None else [each for each in there if each in columns]
                rows = found.to_table(columns=kept, filter=only, fragment_scan_options=self._scanned())
        # A store of an older form lacks columns that came later.
        for each in LAYOUT[name][0]:
            if each.name not in there and (columns is None or each.name in columns):
                rows = rows.append_column(each, pa.nulls(len(rows), each.type))
        return rows

    def _folder(self, name: str) -> Any:
        """The files of a table on a local disk, which the table library reads in twice the time; None elsewhere."""
        import pyarrow.fs as pa_fs

        if not self.local:
            return None
        return pa_fs.SubTreeFileSystem(str(Path(self.uri(name)).absolute()), pa_fs.LocalFileSystem())

    def _scanned(self) -> Any:
        """Fetching ahead hides how long a request takes; on a local disk it only costs threads."""
        import pyarrow.dataset as ds

        return ds.ParquetFragmentScanOptions(pre_buffer=not self.local)

    def _of_few_files(self, name: str, table: Any) -> pa.Table:
        """All rows of a table of few files, not read as a dataset: that would import pandas.

        A run that finds nothing to do reads no other, and the import would be a quarter of its time.
        """
        import pyarrow.fs as pa_fs
        import pyarrow.parquet as pq
        from deltalake.fs import DeltaStorageHandler

        folder = self._folder(name) or pa_fs.PyFileSystem(DeltaStorageHandler(self.uri(name), self.options))
        parts = []
        for file in table.file_uris():
            with folder.open_input_file(file.rsplit("/", 1)[-1]) as opened:
                parts.append(pq.ParquetFile(opened).read())
        return pa.concat_tables(parts, promote_options="default") if parts else LAYOUT[name][0].empty_table()

    def missing(self, name: str) -> StoreError:
        return StoreError("a table of the store is missing", where=self.uri(name), todo=RESTORE)

    def unseen(self, name: str, size: int) -> AbstractContextManager[None]:
        """To write so many bytes to a table, without the panics of a library. Raises OSError where none can be."""
        if not self.local:
            return nullcontext()
        if not os.access(self.uri(name), os.W_OK):
            raise OSError("the folder is read-only, or its owner lets nobody write there")
        return panics.unseen(self.uri(name), size)

    def inputs(self, published: Published | None) -> Inputs:
        """The files the last published run saw."""
        return Inputs.of_rows(self.rows("inputs", published))


class table_errors:
    """Turns the table library's errors into ours."""

    def __init__(self, where: str, done: str = "written") -> None:
        self.where, self.done = where, done

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from deltalake.exceptions import CommitFailedError, DeltaError

        if isinstance(error, CommitFailedError) or "already exists" in str(error):
            raise ConflictError(
                "another run published at the same time",
                where=self.where,
                found=plain(error),
                todo="run again",
                passes=True,
            ) from error
        panicked = type(error).__name__ == "PanicException"
        if isinstance(error, DeltaError | OSError | pa.ArrowException) or panicked:
            full = "No space left" in str(error)
            raise StoreError(
                f"the store cannot be {self.done}",
                where=self.where,
                found=plain(error),
                todo="make room on its disk, then run again; nothing of this run is visible" if full else "",
                passes=True,
            ) from error
