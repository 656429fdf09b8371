"""A statement run over the newest publication, in a database that reads the tables of this store and nothing else.

DuckDB scans the tables as datasets: it reads the columns and files that a statement needs, in batches, and spills what
does not fit `memory:`. Limit: rows come in the order of the files where a statement has no ORDER BY.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from sli.calendar.zone import Zone, zone
from sli.config.arguments import instant_of
from sli.config.model import Config
from sli.engine.connection import as_if_read_at_once, connect, within_memory
from sli.engine.expression import restrict_access, shortened
from sli.engine.sql import literal, quoted
from sli.engine.storage import message_of
from sli.errors import ConfigError, StoreError, nearest
from sli.publishing.history import check_kept
from sli.publishing.past import before_the_first
from sli.publishing.store import LAYOUT
from sli.reading.publication import Publication, newest_or_none
from sli.reading.rows import Rows
from sli.reading.sql.files import with_windows
from sli.reading.sql.statement import WHERE, Statement, statement
from sli.reading.sql.views import COLUMNS, PREFIX, VIEWS, definition, meanings

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset as ds

BATCH_ROWS = 1 << 14
"""About how many rows are computed at a time."""
UNKNOWN_COLUMN = re.compile(r'Referenced column "(.*?)" not found|does not have a column named "(.*?)"')
"""What DuckDB says of a column that there is not."""
KIND = re.compile(r"^(Binder|Catalog|Conversion|Invalid Input|Out of Range|Parser) Error: ")
"""How its messages begin."""
OF_A_TABLE = re.compile(r"reading the stream registered as '.*?' failed: (?:IOError: )?(.*)", re.DOTALL)
"""What it says where a table cannot be read."""
PLAIN = frozenset(
    {
        *("boolean", "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint"),
        *("float", "double", "decimal", "varchar", "date", "timestamp"),
    }
)
"""Types that every format can hold, also within lists, structs and maps; `_usable` turns the others into text."""
NESTED = frozenset({"list", "array", "struct", "map"})


def sql_rows(config: Config, text: str) -> Rows:
    """The rows of one SELECT statement over the views of `views`, computed while they are taken.

    Times without a zone are read in the zone of the config; times of the answer are in UTC. Sums of integers are
    integers of 64 bits. Raises SliError; so does taking a batch.
    """
    asked = statement(text)
    publication = newest_or_none(config)
    if publication is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    at = config.zone
    instants = {time: _known_instant(publication, at, time) for time in asked.times}
    for instant in instants.values():
        check_kept(publication.table("revisions"), instant)
    con = connect(config.parallel, config.task_memory)
    with _told(asked):
        # The rows of equal statements come in the same order each time.
        con.execute("SET preserve_insertion_order=true")
        con.execute(f"SET TimeZone={literal(at.name)}")
        con.execute("SET python_enable_replacements=false")
        for name in sorted({VIEWS[view].table for view in asked.views}):
            con.register(f"{PREFIX}{name}", _dataset(publication, name))
        published = publication.published
        for view in sorted(asked.views):
            for made in definition(view, published.sequence, published.audit_sequence, instants):
                con.execute(made)
        restrict_access(con)
        con.execute("SET lock_configuration=true")
        reader = _usable(con.sql(asked.text)).to_arrow_reader(BATCH_ROWS)
    return Rows(schema=_in_utc(reader.schema), batches=_batches(con, reader, asked))


def _batches(
    con: duckdb.DuckDBPyConnection, reader: pa.RecordBatchReader, asked: Statement
) -> Iterator[pa.RecordBatch]:
    """The rows as they are computed; the connection stays open until the last one."""
    schema = _in_utc(reader.schema)
    with con, _told(asked), as_if_read_at_once():
        for batch in reader:
            yield from pa.Table.from_batches([batch]).cast(schema).to_batches()


def _known_instant(publication: Publication, at: Zone, time: str) -> int:
    """The instant of a time that `as_known` is asked for. Raises ConfigError, also before the first run."""
    instant = instant_of(at, "as_known", time)
    first = int(publication.rows("runs", ["as_of"]).column("as_of").cast(pa.int64()).to_numpy().min())
    if instant < first:
        error = before_the_first(at, first, instant)
        error.where = f"{WHERE}: as_known"
        raise error
    return instant


def _dataset(publication: Publication, name: str) -> ds.Dataset | pa.Table:
    """A table at the version of the publication, with all of its columns. Raises StoreError."""
    if name == COLUMNS:
        return meanings()
    schema, table = LAYOUT[name][0], publication.table(name)
    if table is None:
        return schema.empty_table()
    dataset = table.dataset()
    if name == "results" and publication.published.timezone:
        dataset = with_windows(dataset, zone(publication.published.timezone))
    # A store of an older format lacks columns that were added later. (The stubs do not know what this returns.)
    return cast("ds.Dataset", dataset.replace_schema(schema))


def _usable(rows: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The rows with types that every format can hold. Raises ConfigError if two columns have one name."""
    seen = set[str]()
    for name in rows.columns:
        if name.lower() in seen:
            raise ConfigError(
                f"two columns of the answer are named '{name}'",
                where=WHERE,
                expected="a name for each column",
                todo=f"name one of them: `... AS other_{name}`" if name.isidentifier() else "name them by AS",
            )
        seen.add(name.lower())
    columns = []
    for name, kind in zip(rows.columns, rows.types, strict=True):
        cast = "BIGINT" if kind.id in ("hugeint", "uhugeint") else "" if _is_usable(kind) else "VARCHAR"
        columns.append(f"{quoted(name)}::{cast} AS {quoted(name)}" if cast else quoted(name))
    return rows.project(", ".join(columns))


def _is_usable(kind: Any, within: bool = False) -> bool:
    """Whether every format can hold a type of DuckDB; `within` another one no instants, which keep their zone there."""
    if kind.id in NESTED:
        # Of an array the second child is its length.
        inner = [child for _, child in kind.children if hasattr(child, "id")]
        return all(_is_usable(child, within=True) for child in inner)
    return kind.id in PLAIN or (kind.id == "timestamp with time zone" and not within)


def _in_utc(schema: pa.Schema) -> pa.Schema:
    """The columns with instants in UTC, instead of the zone in which texts are read."""
    fields = []
    for field in schema:
        zoned = pa.types.is_timestamp(field.type) and field.type.tz is not None
        fields.append(field.with_type(pa.timestamp(field.type.unit, "UTC")) if zoned else field)
    return pa.schema(fields)


@contextmanager
def _told(asked: Statement) -> Iterator[None]:
    """A context that turns the errors of DuckDB into ours: what is wrong with the statement, or with the store."""
    import duckdb

    try:
        with within_memory(WHERE):
            yield
    except (duckdb.IOException, OSError, pa.ArrowException) as error:
        raise _unreadable(message_of(error)) from error
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except duckdb.Error as error:
        if failed := OF_A_TABLE.search(str(error)):
            raise _unreadable(failed[1]) from error
        raise _statement_error(asked, str(error)) from error


def _unreadable(found: str) -> StoreError:
    return StoreError("the store cannot be read", where=WHERE, found=found, todo="run the statement again", passes=True)


def _statement_error(asked: Statement, message: str) -> ConfigError:
    """What is wrong with a statement, with the nearest name if one is unknown."""
    what = KIND.sub("", message.splitlines()[0])
    if unknown := UNKNOWN_COLUMN.search(what):
        name = unknown[1] or unknown[2]
        names = [column for view in sorted(asked.views) for column in VIEWS[view].columns]
        expected = f"one of {', '.join(dict.fromkeys(names))}" if names else "a table in FROM"
        found = shortened(asked.text)
        todo = nearest(name, names)
        return ConfigError(f"there is no column '{name}'", where=WHERE, expected=expected, found=found, todo=todo)
    return ConfigError(f"this SQL cannot be used: {what[:300]}", where=WHERE, found=shortened(asked.text))
