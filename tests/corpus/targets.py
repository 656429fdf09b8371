"""What is done with bytes that nobody meant: as footers of files, as configs, as SQL. Imports nothing of Atheris."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import yaml
from builders import config_tree
from corpus.cases import raw, rows
from corpus.thrift import footer_start

from sli.calendar.interval import ALWAYS
from sli.config.load import checked, load_config
from sli.engine.connection import connect
from sli.engine.expression import check_expression
from sli.errors import SliError
from sli.logs.damaged import check_readable
from sli.logs.files import LogFile
from sli.logs.footer import Unread, read_footers
from sli.logs.listing import stamps_of
from sli.logs.log import Log, predictions_log
from sli.logs.reader import rows_sql
from sli.reading.sql.statement import statement

FOUND = Path(__file__).parent / "fuzzed"
"""Inputs that once ended otherwise, by target."""
COLUMNS = {"id": "id", "time": "at", "value": "value"}
SCRATCH = Path(tempfile.gettempdir()) / "sli-fuzzed"


@cache
def _log() -> Log:
    return predictions_log(checked(config_tree(None, COLUMNS, COLUMNS)))


def footer(content: bytes) -> None:
    """The bytes as the footer of a file of good pages: what it says, and what is read of the file by it."""
    import duckdb

    good, path = raw(rows("predictions", "x")), SCRATCH.with_suffix(".parquet")
    path.write_bytes(good[: footer_start(good)] + content + len(content).to_bytes(4, "little") + b"PAR1")
    _, fingerprint, _ = stamps_of(path.stat())
    file = LogFile("predictions", str(path), fingerprint, path.stat().st_size)
    [file] = read_footers(_log(), [Unread(file, 0)], {})
    assert file.rows >= 0
    if file.usable:
        con = connect(1, 0)
        try:
            con.execute(
                f"SELECT count(*), max(hash(COLUMNS(*))) FROM {rows_sql(con, [file], _log(), ALWAYS)}"
            ).fetchall()
        except duckdb.OutOfMemoryException:
            pass
        except duckdb.Error as error:
            check_readable([file], _log(), error)
            raise  # the run would end, although nothing is wrong with the file
        finally:
            con.close()


def config(content: bytes) -> None:
    """The bytes as a config."""
    path = SCRATCH.with_suffix(".yaml")
    path.write_bytes(content)
    load_config(path)


def sql(content: bytes) -> None:
    """The bytes as an expression of a config, and as a statement of `sli sql`."""
    text = content.decode(errors="surrogateescape").encode(errors="replace").decode()
    for ask in (lambda: check_expression(text, ("fare", "tip", "region")), lambda: statement(text)):
        try:
            ask()
        except SliError:
            continue


TARGETS: dict[str, Callable[[bytes], None]] = {"footer": footer, "config": config, "sql": sql}


def seeds(target: str) -> list[bytes]:
    """Inputs that are whole."""
    if target == "footer":
        options = ({}, {"compression": "zstd"}, {"use_dictionary": False}, {"write_page_checksum": True})
        files = [raw(rows("predictions", "x"), **option) for option in options]
        return [file[footer_start(file) : -8] for file in files]
    if target == "config":
        trees = (config_tree(), config_tree(predictions__where="a = 'b'", slice_by=[[], ["a"]], bins={"a": [1]}))
        return [yaml.safe_dump(tree).encode() for tree in trees]
    return [
        b"sum(CASE WHEN region = 'a' THEN fare END)",
        b"select d.value from daily d where window_end > '2024-01-01'",
    ]


def answered(target: str, content: bytes) -> None:
    """Try an input: it may be refused by an error of sli's own, and nothing else may happen."""
    with suppress(SliError):
        TARGETS[target](content)
