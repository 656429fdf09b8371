"""Files of other kinds than Parquet: a command that makes a Parquet file of them, with no more than `sli` needs itself.

Limit: only the most frequent kind of several is converted, all its files to one.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Sequence

from sli.logs.globs import MAGIC

READERS = {".csv": "read_csv", ".tsv": "read_csv", ".json": "read_json", ".jsonl": "read_json", ".ndjson": "read_json"}
"""The function of DuckDB that reads files of an ending, also if they are compressed."""
FORMATS = {".feather": "feather", ".arrow": "ipc", ".ipc": "ipc", ".orc": "orc"}
"""What Arrow calls the format of an ending."""
ENDING = re.compile(r"\.\w+(?:\.(?:gz|zst))?$")
QUOTED = re.compile(r"[\"'$`\\!%\n]")
"""Characters of a path that a shell, Python or SQL would need in other quotes."""


def conversion(others: Sequence[str], path: str, key: str) -> str:
    """What to do about other files at a path of a log, which `key` of the config gives; "" if none can be converted.

    >>> print(conversion(["/logs/a.csv", "/logs/b.csv"], "/logs", "predictions.path"))
    convert them by `python -c "import duckdb; duckdb.sql(\\"COPY (FROM read_csv('/logs/**/*.csv')) \
TO '/logs.parquet'\\")"` and give /logs.parquet as `predictions.path`
    """
    kinds = Counter(match[0] for name in others if (match := ENDING.search(name)))
    known = [kind for kind, _ in kinds.most_common() if _bare(kind) in READERS.keys() | FORMATS.keys() | {".avro"}]
    if not known:
        return ""
    path = "logs" if QUOTED.search(path) else path.rstrip("/")
    source = path if path.endswith(known[0]) else f"{path}/**/*{known[0]}"
    fixed = MAGIC.split(source)[0]
    target = f"{fixed.removesuffix(known[0]) if fixed == source else posixpath.dirname(fixed)}.parquet"
    if _bare(known[0]) == ".avro":
        return f"convert them to Parquet, for example by DuckDB's extension `avro`, and give {target} as `{key}`"
    return f'convert them by `python -c "{_code(source, target, _bare(known[0]))}"` and give {target} as `{key}`'


def _bare(kind: str) -> str:
    """An ending without the one that says how the file is compressed."""
    return os.path.splitext(kind)[0] if kind.endswith((".gz", ".zst")) else kind


def _code(source: str, target: str, kind: str) -> str:
    """Python that writes files to one Parquet file, to be put in double quotes."""
    if kind in READERS:
        sql = f"COPY (FROM {READERS[kind]}('{source}')) TO '{target}'"
        protocol = source.partition("://")[0] if "://" in source else ""
        register = f"import fsspec; duckdb.register_filesystem(fsspec.filesystem('{protocol}')); " if protocol else ""
        return f'import duckdb; {register}duckdb.sql(\\"{sql}\\")'
    files = f"fs.glob('{source}')"
    where = f"import fsspec; fs = fsspec.url_to_fs('{source}')[0]"
    dataset = f"d.dataset({files}, format='{FORMATS[kind]}', filesystem=fs)"
    return (
        f"import pyarrow.dataset as d, pyarrow.parquet as p; {where}; p.write_table({dataset}.to_table(), '{target}')"
    )
