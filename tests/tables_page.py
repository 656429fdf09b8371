"""Makes docs/tables.md from the schemas, the layout of a store and the meanings of columns.

    python tests/tables_page.py

writes it; a test holds the page to what this makes.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from sli.meanings import MEANINGS, TABLES
from sli.publishing.store import LAYOUT

PAGE = Path(__file__).parents[1] / "docs/tables.md"
ORDER = ("results", "revisions", "audit", "runs", "tiles", "days", "inputs", "keys")
HEAD = """\
# Tables of a store

A store is a folder or an `s3://` prefix with a Delta table in each of these folders. `sli.read` and `sli sql` read
`results`, `revisions`, `audit` and `runs`; the others are internal, and may change with the format of the store.
`sli sql CONFIG "from columns"` lists the same in a terminal. This page is made by `tests/tables_page.py`.

A run becomes visible by one commit of `results`, which names the versions of the other tables that it rests on. So the
newest version of `results` is whole at any time; other tables may have a newer version, of a run that is still at work
or was killed. `sli sql` and `sli.read` see to that.

"""
READERS = """\
## Who can read them
All tables have reader version 1 and writer version 2 of the Delta protocol and no table features: no deletion vectors,
no mapped or generated columns. So every engine that reads Delta Lake can read them, Spark and Trino among them. A test
holds every table to these versions, also after columns were added.

A `timestamp` is an instant, stored in UTC to the microsecond: `TIMESTAMP` in Spark, which shows it in the zone of the
session, and `timestamp(3) with time zone` in Trino, which rounds it to the millisecond. Partition columns are texts.
The log has no statistics of columns, so an engine chooses files by partition: give it `grain` and `day`.

Do not read the folder of a table as Parquet files: it also has files that are no longer valid. [reading.md](reading.md)
has a line for each tool, and says which of them were executed.
"""


def page() -> str:
    """The page as it should be. Raises KeyError for a table or column without a meaning."""
    return "\n".join([HEAD, *(table(name) for name in ORDER), READERS]).replace("\n\n\n", "\n\n")


def table(name: str) -> str:
    schema, partitions = LAYOUT[name]
    head = f"## {name}\n{TABLES[name]}"
    if partitions:
        head += f" Partitioned by {' and '.join(f'`{column}`' for column in partitions)}."
    rows = ["| column | type | unit | meaning | null |", "|---|---|---|---|---|"]
    for field in schema:
        meaning = MEANINGS[name][field.name]
        cells = (f"`{field.name}`", type_of(field.type), meaning.unit, meaning.text, meaning.null)
        rows.append("".join(f"| {cell} " if cell else "| " for cell in cells) + "|")
    return "\n".join([head, "", *rows, ""])


def type_of(kind: pa.DataType) -> str:
    """A type as Spark, Trino and DuckDB call it."""
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_list(kind):
        return f"list of {type_of(kind.value_type)}"
    if pa.types.is_map(kind):
        return f"map of {type_of(kind.key_type)} to {type_of(kind.item_type)}"
    if pa.types.is_struct(kind):
        return f"struct({', '.join(f'{field.name} {type_of(field.type)}' for field in kind)})"
    return {"string": "text", "int64": "bigint"}.get(str(kind), str(kind))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
