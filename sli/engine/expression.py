"""SQL of a config is one scalar expression over named columns: checked as a tree, run in an engine shut in.

What runs is the config's own text, since the identity of stored states rests on it. Therefore a text must give the
same tree between parentheses and as a branch of a CASE: what closes or opens more than its own brackets, or ends in a
comment, does so in one of them only. Limit: values an expression makes from a row are not bounded in size.
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
"""Characters of an expression."""
MAX_DEPTH = 200
"""Brackets within brackets."""
_DEPTH = {**dict.fromkeys("([{", 1), **dict.fromkeys(")]}", -1)}
CHECK_SECONDS = 3.0
"""How long checking one may take."""
STATEMENTS = ("SELECT ({})", "SELECT CASE WHEN true THEN {} END")
"""Statements around a text that its own brackets could close in one way only."""
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
"""The types of numbers, and that of nothing but null."""
CLASSES = {"BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA"}
CLASSES |= {"OPERATOR", "TYPE"}
NAMED = {
    "COLLATE": "a collation",
    "PARAMETER": "a parameter",
    "STAR": "all columns at once",
    "SUBQUERY": "a query within it",
    "WINDOW": "a window function",
}
"""What people call the parts of SQL that are not allowed in an expression."""


class Refused(Exception):
    """Why a text is no expression, and what to do."""

    def __init__(self, why: str, todo: str = "", column: str = "") -> None:
        super().__init__(why)
        self.todo, self.column = todo, column


def shortened(text: str) -> str:
    """As much of a text as a message has room for."""
    return text if len(text) <= 200 else f"{text[:200]}..."


def restrict_access(con: duckdb.DuckDBPyConnection, files: Collection[str] = ()) -> None:
    """From here on a database reads these files alone, patterns of paths among them, and writes only what it spills."""
    if files:
        con.execute(f"SET allowed_paths=[{', '.join(map(literal, files))}]")
    con.execute("SET enable_external_access=false")


def lock_down(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The same connection, shut in, its settings fixed."""
    restrict_access(con)
    con.execute("SET lock_configuration=true")
    return con


def run_within(con: duckdb.DuckDBPyConnection, seconds: float, work: Callable[[], T]) -> T:
    """What `work` on a connection returns. Raises TimeoutError where it takes longer; whatever else it raises.

    A step that takes no interrupt goes on in its thread, which nobody waits for.
    """
    ended: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            ended.append((work(), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join(seconds)
    finally:
        if thread.is_alive():
            with suppress(Exception):  # it may be closed
                con.interrupt()
    if not ended:
        raise TimeoutError
    result, error = ended[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def check_expression(text: str, columns: Collection[str], numbers: bool = False, missing: str = "") -> frozenset[str]:
    """The columns that an expression of a config rests on. Raises ConfigError, which leaves `where` to the caller.

    With `numbers` all columns are doubles, and it must be a number itself. `missing` says what to do where a column
    is none of them and none is called alike.
    """
    return _checked(text, tuple(columns), numbers, missing)


@functools.lru_cache(maxsize=1024)
def _checked(text: str, columns: tuple[str, ...], numbers: bool, missing: str) -> frozenset[str]:
    import duckdb

    expected = f"one SQL expression over {', '.join(columns)}"
    found = shortened(text)
    what = "this SQL cannot be used"
    try:
        con = _engine().cursor()
        return run_within(con, CHECK_SECONDS, lambda: _looked_at(con, text, columns, numbers))
    except Refused as error:
        todo = error.todo or (missing.format(error.column) if error.column else "")
        raise ConfigError(f"{what}: {error}", expected=expected, found=found, todo=todo) from None
    except TimeoutError:
        _engine.cache_clear()
        raise ConfigError(f"{what}: checking it takes too long", expected=expected, found=found) from None
    except RecursionError:
        raise ConfigError(f"{what}: it is nested too deeply", expected=expected, found=found) from None
    except duckdb.Error as error:
        told = str(error).splitlines()[0].removeprefix("Binder Error: ")
        raise ConfigError(f"{what}: {told[:300]}", expected=expected, found=found) from error


@functools.cache
def _engine() -> duckdb.DuckDBPyConnection:
    import duckdb

    return lock_down(duckdb.connect(config={"threads": 1, "memory_limit": "256MB"}))


def _looked_at(con: duckdb.DuckDBPyConnection, text: str, columns: tuple[str, ...], numbers: bool) -> frozenset[str]:
    if not text.strip():
        raise Refused("it is empty")
    if len(text) > MAX_LENGTH:
        raise Refused(f"it has {len(text):,} characters, at most {MAX_LENGTH:,} are allowed")
    if max(itertools.accumulate(_DEPTH.get(character, 0) for character in text), default=0) > MAX_DEPTH:
        raise Refused("it is nested too deeply")
    if strange := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        raise Refused(f"it holds the control character {strange[0]!r}")
    first, second = (_tree(con, form, text) for form in STATEMENTS)
    if second.get("class") != "CASE" or [each["then_expr"] for each in second["case_checks"]] != [first]:
        raise Refused("it closes a bracket or comment that it did not open")
    known = {name.lower(): name for name in columns}
    used = frozenset(_columns(first, known, frozenset()))
    if numbers:
        values = ", ".join(f"NULL::DOUBLE AS {quoted(name)}" for name in columns)
        # Described, it is bound and not run: no constant in it is worked out.
        [described] = con.execute(f"DESCRIBE SELECT ({text}) FROM (SELECT {values})").fetchall()
        if not NUMBER.fullmatch(described[1]):
            raise Refused(f"its value is {described[1]}, not a number")
    return used


def _tree(con: duckdb.DuckDBPyConnection, form: str, text: str) -> Any:
    """The one expression that a text is within a statement."""
    whole = _serialised(con, form.format(text))
    if whole["error"]:
        told = str(whole["error_message"])
        if whole["error_type"] == "not implemented":
            raise Refused("it holds another statement")
        raise Refused(re.sub(r"[Mm]ax expression depth.*", "it is nested too deeply", told)[:200])
    if len(whole["statements"]) != 1:
        raise Refused("it holds another statement")
    [statement] = whole["statements"]
    bare = _serialised(con, "SELECT 1")["statements"][0]
    listed, bare["node"]["select_list"] = statement["node"].get("select_list", []), []
    statement["node"]["select_list"] = []
    if statement.get("named_param_map"):
        raise Refused("it holds a parameter")
    if statement != bare:
        raise Refused("it is a query")
    if len(listed) != 1:
        raise Refused("it is more than one expression")
    if listed[0].get("alias"):
        raise Refused("it gives itself a name")
    return listed[0]


def _serialised(con: duckdb.DuckDBPyConnection, sql: str) -> Any:
    [(told,)] = con.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    places = ("query_location", "query_location_length")
    return json.loads(told, object_hook=lambda each: {k: v for k, v in each.items() if k not in places})


def _columns(node: Any, known: Mapping[str, str], own: frozenset[str], lambdas: bool = False) -> Iterator[str]:
    """Columns below a node of the tree. Raises Refused for what has no place in an expression.

    `own` are the names that lambdas around it give their arguments; `lambdas`: it is an argument that may be one.
    """
    if isinstance(node, list):
        for each in node:
            yield from _columns(each, known, own, lambdas)
        return
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is None or kind == "CONSTANT":
        # Clauses of a CASE, arguments of a function.
        for each in node.values() if kind is None else ():
            yield from _columns(each, known, own, lambdas)
        return
    if kind not in CLASSES:
        raise Refused(f"it holds {NAMED.get(kind, kind.replace('_', ' ').lower())}")
    if kind == "COLUMN_REF":
        yield from _named(node["column_names"], known, own)
        return
    if kind == "LAMBDA" and lambdas:
        own |= set(_arguments(node["lhs"]))
        yield from _columns(node["expr"], known, own)
        return
    if kind == "FUNCTION":
        _check_function(node)
    if kind == "OPERATOR" and node["type"] not in OPERATORS:
        raise Refused(f"it holds {node['type'].replace('_', ' ').lower()}")
    if kind == "TYPE" and (node["type_name"].upper() not in TYPES or len(node["qualified_name"]["path"]) != 1):
        raise Refused(f"unknown type '{node['type_name']}'", nearest(node["type_name"].upper(), TYPES))
    takes = kind == "FUNCTION" and node["function_name"].lower() in LAMBDAS
    for each in node.values():
        yield from _columns(each, known, own, takes)


def _named(path: list[str], known: Mapping[str, str], own: frozenset[str]) -> Iterator[str]:
    name = path[0].lower()
    if name in own:
        return
    if name not in known:
        whole = ".".join(path)
        if name in REFUSED:
            raise Refused(f"'{whole}' {REFUSED[name]}")
        raise Refused(f"unknown column '{whole}'", nearest(path[0], known.values()), path[0])
    yield known[name]


def _arguments(node: Any) -> Iterator[str]:
    """Names of the arguments of a lambda: one column, or a row of several."""
    if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
        yield node["column_names"][0].lower()
    elif node.get("function_name") == "row":
        for each in node["arguments"]:
            yield from _arguments(each["expression"])
    else:
        raise Refused("it holds a lambda whose arguments have no name")


def _check_function(node: Mapping[str, Any]) -> None:
    name = node["function_name"].lower()
    if len(node["qualified_name"]["path"]) != 1:
        raise Refused(f"it calls '{'.'.join(node['qualified_name']['path'])}', a function of a schema")
    if name not in ALLOWED:
        if name in REFUSED:
            raise Refused(f"'{name}' {REFUSED[name]}")
        raise Refused(f"'{name}' is not a function that SQL of a config may call", nearest(name, ALLOWED))
    if node["distinct"] or node["filter"] or node["order_bys"]["orders"] or node["export_state"]:
        raise Refused(f"'{name}' takes neither DISTINCT, FILTER nor ORDER BY")
