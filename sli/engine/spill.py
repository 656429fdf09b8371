"""Tables put on disk one after another, and read back in their order: what a run may not hold in memory as a whole.

Limit: only the process that writes them reads them, and their file goes with it.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa

from sli.engine.connection import spill_folder
from sli.engine.storage import message_of
from sli.errors import EngineError


class Spill:
    """Tables of the columns of a schema, in a file that is removed once nobody refers to it.

    >>> rows = Spill(pa.schema([("n", pa.int64())]))
    >>> rows.append(pa.table({"n": [1, 2]}))
    >>> rows.append(pa.table({"n": [3]}))
    >>> [table.column("n").to_pylist() for table in rows]
    [[1, 2], [3]]
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._path = ""
        self._batches: list[int] = []
        """How many batches each table has in the file."""
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    def append(self, table: pa.Table) -> None:
        """Add a table. Raises EngineError if the disk is full."""
        with _on_disk():
            if not self._path:
                number, self._path = tempfile.mkstemp(".arrow", dir=spill_folder())
                os.close(number)
                weakref.finalize(self, _remove, self._path)
            if self._writer is None:
                assert not self._batches, "tables were read before the last one came"
                self._writer = pa.ipc.new_stream(self._path, self.schema)
            batches = table.select(self.schema.names).unify_dictionaries().combine_chunks().to_batches()
            for batch in batches:
                self._writer.write_batch(batch)
            self._batches.append(len(batches))

    def __iter__(self) -> Iterator[pa.Table]:
        """The tables as they were added; nothing can be added after. Raises EngineError."""
        if not self._batches:
            return
        with _on_disk():
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            with pa.OSFile(self._path, "rb") as file, pa.ipc.open_stream(file) as reader:
                for count in self._batches:
                    yield pa.Table.from_batches([reader.read_next_batch() for _ in range(count)], self.schema)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(
            "rows cannot be kept on disk until they are published",
            where=tempfile.gettempdir(),
            found=message_of(error),
            todo="make room there, or set TMPDIR to a folder on a larger disk",
            passes=True,
        ) from error
