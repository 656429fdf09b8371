"""Checks that SQL of a config is one scalar expression over named columns, and runs it in a DuckDB without access.

The config's own text runs, since the identity of stored states depends on it. So the text must parse to the same tree
inside parentheses and inside a CASE: a text that closes a bracket or comment it did not open parses in at most one of
them. Limit: the values that an expression computes from a row may have any size.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sli.engine.functions import ALLOWED, LAMBDAS, REFUSED, TYPES
from sli.engine.sql import literal, quoted
from sli.errors import ConfigError, nearest

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")
MAX_LENGTH = 10_000
"""The most characters an expression may have."""
MAX_DEPTH = 200
"""How deep brackets may lie within brackets."""
_DEPTH = {**dict.fromkeys("([{", 1), **dict.fromkeys(")]}", -1)}
CHECK_SECONDS = 3.0
"""How long the check of an expression may take."""
STATEMENTS = ("SELECT ({})", "SELECT CASE WHEN true THEN {} END")
"""Statements around an expression: a text with an unmatched bracket or comment cannot give one tree in both."""
OPERATORS = {
    "ARRAY_CONSTRUCTOR",
    "ARRAY_EXTRACT",
    "ARRAY_SLICE",
    "COMPARE_IN",
    "COMPARE_NOT_IN",
    "OPERATOR_COALESCE",
    "OPERATOR_IS_NOT_NULL",
    "OPERATOR_IS_NULL",
    "OPERATOR_NOT",
    "OPERATOR_NULLIF",
    "OPERATOR_TRY",
    "STRUCT_EXTRACT",
}
NUMBER = re.compile(r"\"NULL\"|BOOLEAN|DOUBLE|FLOAT|DECIMAL\(.*\)|U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)")
"""Types of numbers, and the type of a constant NULL."""
CLASSES = {"BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA"}
CLASSES |= {"OPERATOR", "TYPE"}
NAMED = {
    "COLLATE": "a collation",
    "PARAMETER": "a parameter",
    "STAR": "all columns at once",
    "SUBQUERY": "a query within it",
    "WINDOW": "a window function",
}
"""Plain names of parts of SQL that an expression may not contain."""


class Refused(Exception):
    """Why a text cannot be used as an expression, what to do (`todo`), and the `column` that is unknown, if one is."""

    def __init__(self, why: str, todo: str = "", column: str = "") -> None:
        super().__init__(why)
        self.todo, self.column = todo, column


def shortened(text: str) -> str:
    """The first 200 characters of a text, for a message."""
    return text if len(text) <= 200 else f"{text[:200]}..."


def nested_too_deeply(text: str) -> bool:
    """Whether brackets lie so deep in brackets that DuckDB's parser would work on them for minutes.

    >>> nested_too_deeply("(" * 9000), nested_too_deeply("(a + (b))")
    (True, False)
    """
    return max(itertools.accumulate(_DEPTH.get(character, 0) for character in text), default=0) > MAX_DEPTH


def restrict_access(con: duckdb.DuckDBPyConnection, files: Collection[str] = ()) -> None:
    """Let a database read only these files (patterns of paths are allowed), and write only what it spills."""
    if files:
        con.execute(f"SET allowed_paths=[{', '.join(map(literal, files))}]")
    con.execute("SET enable_external_access=false")


def run_within(con: duckdb.DuckDBPyConnection, seconds: float, work: Callable[[], T]) -> T:
    """The result of `work`, which uses a connection; an exception of `work` is raised here.

    Raises TimeoutError after so many seconds. It then interrupts the connection but does not wait for the thread.
    """
    outcomes: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcomes.append((work(), None))
        except BaseException as error:
            outcomes.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    finally:
        if thread.is_alive():
            with suppress(Exception):  # the connection may be closed
                con.interrupt()
    if not outcomes:
        raise TimeoutError
    result, error = outcomes[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def check_expression(text: str, columns: Collection[str], numbers: bool = False, missing: str = "") -> frozenset[str]:
    """The columns that an SQL expression of a config uses. Raises ConfigError; the caller sets its `where`.

    With `numbers` all columns are doubles, and the expression must be a number too. `missing` says what to do about
    an unknown column for which no known one has a similar name; `{}` stands for the column.

    >>> sorted(check_expression("CASE WHEN label THEN fare ELSE 0 END", ["fare", "label", "decision"]))
    ['fare', 'label']
    """
    return _checked(text, tuple(columns), numbers, missing)


def named_columns(text: str) -> frozenset[str]:
    """The names of the columns that an SQL expression of a config uses, whichever they are. Raises ConfigError.

    >>> sorted(named_columns("coalesce(output.score, fallback)"))
    ['fallback', 'output']
    """
    return _checked(text, None, False, "")


def expression_tree(text: str) -> Any:
    """DuckDB's tree of an expression that `named_columns` accepts."""
    return _tree(locked_database().cursor(), STATEMENTS[0], text)


@functools.lru_cache(maxsize=1024)
def _checked(text: str, columns: tuple[str, ...] | None, numbers: bool, missing: str) -> frozenset[str]:
    import duckdb

    expected = f"one SQL expression over {', '.join(columns) if columns is not None else 'the columns of the log'}"
    found = shortened(text)
    what = "this SQL cannot be used"
    try:
        con = locked_database().cursor()
        return run_within(con, CHECK_SECONDS, lambda: _columns_of_text(con, text, columns, numbers))
    except Refused as error:
        todo = error.todo or (missing.format(error.column) if error.column else "")
        raise ConfigError(f"{what}: {error}", expected=expected, found=found, todo=todo) from None
    except TimeoutError:
        locked_database.cache_clear()
        raise ConfigError(f"{what}: checking it takes too long", expected=expected, found=found) from None
    except RecursionError:
        raise ConfigError(f"{what}: it is nested too deeply", expected=expected, found=found) from None
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].removeprefix("Binder Error: ")
        raise ConfigError(f"{what}: {reason[:300]}", expected=expected, found=found) from error


@functools.cache
def locked_database() -> duckdb.DuckDBPyConnection:
    """A database without access to files, whose settings cannot change; its time zone is UTC. Use cursors of it."""
    import duckdb

    con = duckdb.connect(config={"threads": 1, "memory_limit": "256MB"})
    con.execute("SET GLOBAL TimeZone='UTC'")
    restrict_access(con)
    con.execute("SET lock_configuration=true")
    return con


def _columns_of_text(
    con: duckdb.DuckDBPyConnection, text: str, columns: tuple[str, ...] | None, numbers: bool
) -> frozenset[str]:
    if not text.strip():
        raise Refused("it is empty")
    if len(text) > MAX_LENGTH:
        raise Refused(f"it has {len(text):,} characters, more than {MAX_LENGTH:,}")
    if nested_too_deeply(text):
        raise Refused("it is nested too deeply")
    if control := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        raise Refused(f"it contains the control character {control[0]!r}")
    alone, case = (_tree(con, statement, text) for statement in STATEMENTS)
    if case.get("class") != "CASE" or [branch["then_expr"] for branch in case["case_checks"]] != [alone]:
        raise Refused("it closes a bracket or comment that it did not open")
    known = {name.lower(): name for name in columns} if columns is not None else None
    used = frozenset(_columns(alone, known, frozenset()))
    if numbers and columns is not None:
        values = ", ".join(f"NULL::DOUBLE AS {quoted(name)}" for name in columns)
        # DESCRIBE binds the query without running it, so no constant expression in it is computed.
        [described] = con.execute(f"DESCRIBE SELECT ({text}) FROM (SELECT {values})").fetchall()
        if not NUMBER.fullmatch(described[1]):
            raise Refused(f"its value is {described[1]}, not a number")
    return used


def _tree(con: duckdb.DuckDBPyConnection, statement_form: str, text: str) -> Any:
    """The tree of the one expression that a text is within a statement. Raises Refused."""
    parsed = _parse(con, statement_form.format(text))
    if parsed["error"]:
        reason = str(parsed["error_message"])
        if parsed["error_type"] == "not implemented":
            raise Refused("it contains another statement")
        raise Refused(re.sub(r"[Mm]ax expression depth.*", "it is nested too deeply", reason)[:200])
    if len(parsed["statements"]) != 1:
        raise Refused("it contains another statement")
    [statement] = parsed["statements"]
    bare = _parse(con, "SELECT 1")["statements"][0]
    selected, bare["node"]["select_list"] = statement["node"].get("select_list", []), []
    statement["node"]["select_list"] = []
    if statement.get("named_param_map"):
        raise Refused("it contains a parameter")
    if statement != bare:
        raise Refused("it is a query")
    if len(selected) != 1:
        raise Refused("it is more than one expression")
    if selected[0].get("alias"):
        raise Refused("it has an alias", "remove the alias")
    return selected[0]


def _parse(con: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """DuckDB's tree of a statement, without the positions of its parts in the text."""
    [(tree,)] = con.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    positions = ("query_location", "query_location_length")
    return json.loads(tree, object_hook=lambda node: {k: v for k, v in node.items() if k not in positions})


def _columns(node: Any, known: Mapping[str, str] | None, own: frozenset[str], lambdas: bool = False) -> Iterator[str]:
    """The columns that a node of the tree uses. Raises Refused for parts that an expression may not contain.

    `known` are the names of the columns by their lower case; if it is None, a column may have any name. `own` are the
    arguments of the lambdas around the node.
    `lambdas`: the node is an argument of a function that takes lambdas, so it may be one.
    """
    if isinstance(node, list):
        for child in node:
            yield from _columns(child, known, own, lambdas)
        return
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is None or kind == "CONSTANT":
        # A node without a class is a clause of a CASE or an argument of a function.
        for child in node.values() if kind is None else ():
            yield from _columns(child, known, own, lambdas)
        return
    if kind not in CLASSES:
        raise Refused(f"it contains {NAMED.get(kind, kind.replace('_', ' ').lower())}")
    if kind == "COLUMN_REF":
        yield from _column(node["column_names"], known, own)
        return
    if kind == "LAMBDA" and lambdas:
        own |= set(_arguments(node["lhs"]))
        yield from _columns(node["expr"], known, own)
        return
    if kind == "FUNCTION":
        _check_function(node)
    if kind == "OPERATOR" and node["type"] not in OPERATORS:
        raise Refused(f"it contains {node['type'].replace('_', ' ').lower()}")
    if kind == "TYPE" and (node["type_name"].upper() not in TYPES or len(node["qualified_name"]["path"]) != 1):
        raise Refused(f"unknown type '{node['type_name']}'", nearest(node["type_name"].upper(), TYPES))
    takes_lambda = kind == "FUNCTION" and node["function_name"].lower() in LAMBDAS
    for child in node.values():
        yield from _columns(child, known, own, takes_lambda)


def _column(path: list[str], known: Mapping[str, str] | None, own: frozenset[str]) -> Iterator[str]:
    """The column that a reference names; none if it names an argument of a lambda. Raises Refused."""
    name = path[0].lower()
    if name in own:
        return
    if known is not None and name in known:
        yield known[name]
        return
    whole = ".".join(path)
    if name in REFUSED:
        raise Refused(f"'{whole}' {REFUSED[name]}")
    if known is not None:
        raise Refused(f"unknown column '{whole}'", nearest(path[0], known.values()), path[0])
    yield path[0]


def _arguments(node: Any) -> Iterator[str]:
    """Names of the arguments of a lambda: one column, or a row of several."""
    if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
        yield node["column_names"][0].lower()
    elif node.get("function_name") == "row":
        for argument in node["arguments"]:
            yield from _arguments(argument["expression"])
    else:
        raise Refused("it contains a lambda whose arguments have no name")


def _check_function(node: Mapping[str, Any]) -> None:
    """Raise Refused for a function that an expression may not call, or not in this way."""
    name = node["function_name"].lower()
    if len(node["qualified_name"]["path"]) != 1:
        raise Refused(f"it calls '{'.'.join(node['qualified_name']['path'])}', a function of a schema")
    if name not in ALLOWED:
        if name in REFUSED:
            raise Refused(f"'{name}' {REFUSED[name]}")
        raise Refused(f"'{name}' is not a function that SQL of a config may call", nearest(name, ALLOWED))
    if node["distinct"] or node["filter"] or node["order_bys"]["orders"] or node["export_state"]:
        raise Refused(f"'{name}' takes no DISTINCT, FILTER or ORDER BY")
