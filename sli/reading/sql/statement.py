"""Whether a text is one SELECT statement over the views, told from DuckDB's own tree of it before anything runs.

This is for clear messages. What keeps a statement from files, settings and the network is the database it runs in.
Limit: names of columns are checked by DuckDB when it binds the statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sli.engine.expression import locked_database, nested_too_deeply, shortened
from sli.errors import ConfigError, check_known
from sli.reading.sql.views import AS_KNOWN, VIEWS

WHERE = "SQL"
FUNCTIONS = ("range", "generate_series", "unnest")
"""Functions that may stand in FROM, besides `as_known`: they make rows from their arguments alone."""
OUTSIDE = ("current_setting", "getvariable")
"""Functions of one value that read settings of the database, and with them paths of this machine."""
MAX_LENGTH = 100_000
"""The most characters that a statement may have."""


@dataclass(frozen=True)
class Statement:
    """A text that is one SELECT statement: the views it reads, and the times that it asks `as_known` for."""

    text: str
    views: frozenset[str]
    times: tuple[str, ...]


def statement(text: str) -> Statement:
    """The statement that a text is. Raises ConfigError.

    >>> sorted(statement("select d.value from daily d join as_known('2014-01-02') k using (window_end)").views)
    ['as_known', 'daily']
    """
    if len(text) > MAX_LENGTH:
        raise _refused("it is too long", found=f"{len(text):,} characters, more than {MAX_LENGTH:,}")
    if nested_too_deeply(text):
        raise _refused("it is nested too deeply", found=shortened(text))
    con = locked_database().cursor()
    [(serialized,)] = con.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    try:
        tree = json.loads(serialized)
    except RecursionError:
        raise _refused("it is nested too deeply", found=shortened(text)) from None
    if tree["error"]:
        if tree["error_type"] == "not implemented":
            raise _refused("it is not a SELECT statement", found=shortened(text))
        raise _refused(shortened(tree["error_message"]), found=shortened(text))
    if len(tree["statements"]) != 1:
        raise _refused("it is not one statement", found=f"{len(tree['statements'])} statements")
    own = {name.lower() for name in _names_of_queries(tree)}
    views = set[str]()
    times: list[str] = []
    for node in _nodes(tree):
        if node.get("type") == "BASE_TABLE":
            name = ".".join(node["qualified_name"]["path"])
            if name.lower() not in own:
                check_known(f"there is no table '{name}'", name.lower(), VIEWS, where=WHERE)
                if name.lower() == AS_KNOWN:
                    raise _needs_time("a time is missing")
            # A query may have the name of a view, and read that view itself.
            if name.lower() in VIEWS and name.lower() != AS_KNOWN:
                views.add(name.lower())
        elif node.get("type") == "TABLE_FUNCTION":
            function = node["function"]
            if function["function_name"].lower() == AS_KNOWN:
                views.add(AS_KNOWN)
                times.append(_time(function))
            else:
                _check_function(function["function_name"])
        elif node.get("type") == "FUNCTION" and node["function_name"].lower() in OUTSIDE:
            raise _refused(f"`{node['function_name']}` reads a setting", found=shortened(text))
        elif node.get("type") == "SHOW_REF" and not node.get("query"):
            raise _refused(
                "it is not a SELECT statement", found=shortened(text), todo="DESCRIBE a table for its columns"
            )
    return Statement(text, frozenset(views), tuple(dict.fromkeys(times)))


def _check_function(name: str) -> None:
    if name.lower() not in FUNCTIONS:
        what = f"'{name}' cannot be read from: only the tables of this store can"
        check_known(what, name.lower(), [*VIEWS, *FUNCTIONS], where=WHERE)


def _time(function: dict[str, Any]) -> str:
    """The time in a call of `as_known`. Raises ConfigError."""
    arguments = [argument.get("expression", argument) for argument in function["arguments"]]
    if len(arguments) != 1:
        raise _needs_time(f"it takes one time, found {len(arguments)}")
    [argument] = arguments
    literal = argument.get("literal", {})
    if literal.get("kind") != "STRING":
        raise _needs_time("its time is not a text in quotes")
    return str(literal["text"])


def _needs_time(why: str) -> ConfigError:
    return ConfigError(
        f"`{AS_KNOWN}` cannot be read: {why}",
        where=WHERE,
        expected=f"a time, such as {AS_KNOWN}('2014-01-02') or {AS_KNOWN}('2014-01-02T06:00Z')",
        todo="`current` has all results as they are known now",
    )


def _refused(why: str, found: str, todo: str = "") -> ConfigError:
    expected = f"one SELECT statement over {', '.join(VIEWS)}"
    return ConfigError(f"this SQL cannot be used: {why}", where=WHERE, expected=expected, found=found, todo=todo)


def _names_of_queries(tree: Any) -> Iterator[str]:
    """The names that a statement gives to its own queries by WITH."""
    for node in _nodes(tree):
        if isinstance(node.get("cte_map"), dict):
            yield from (entry["key"] for entry in node["cte_map"]["map"])
        if node.get("type") == "RECURSIVE_CTE_NODE":
            yield node["cte_name"]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All mappings within a tree, without recursion: a tree may be deep."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            stack.extend(reversed(node))
