"""A YAML text as plain data: mappings with text keys, lists, texts, numbers, dates. Anything else is an error.

Values are counted while the text is read, so a small text whose aliases repeat each other cannot grow without bound.
Limit: at most MAX_DEPTH nested mappings and lists, and MAX_VALUES values; the values of an alias count again.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from sli.errors import ConfigError
from sli.masking import masked

MAX_BYTES = 256 << 10
"""The largest size of a config."""
MAX_DEPTH = 50
MAX_VALUES = 20_000
LARGEST_INTEGER = 1 << 63
IN_QUOTES = "if this is a text, put it in quotes"
SURROGATES = re.compile("[\ud800-\udfff]")
STANDARD = "tag:yaml.org,2002:"
TAGS = {f"{STANDARD}{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge")}


def read(path: Path, where: str) -> str:
    """The text of a config, which messages call `where`. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        todo = "name one of the configs in it" if isinstance(error, IsADirectoryError) else "`sli init` writes one"
        raise ConfigError(f"the config cannot be read: {error.strerror}", where=where, todo=todo) from error
    except ValueError as error:
        # The text is not UTF-8, or the path has a NUL.
        raise ConfigError("the config is not UTF-8 text", where=where) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError("the config is too large", where=where, expected=f"at most {MAX_BYTES >> 10} KiB")
    return text


def parse_yaml(text: str, where: str) -> object:
    """The one document of a text, None if it is empty. Raises ConfigError, with the line."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else loader.construct_document(node)
    except _Refused as error:
        raise ConfigError(error.what, where=_at(where, error.line), todo=error.todo) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"invalid YAML: {problem}", where=_at(where, mark.line + 1 if mark else 0)) from error
    except yaml.YAMLError as error:
        raise ConfigError("invalid YAML", where=where, found=masked(" ".join(str(error).split()))[:200]) from error


def _at(where: str, line: int) -> str:
    return f"{where}, line {line}" if line else where


class _Refused(Exception):
    def __init__(self, what: str, line: int, todo: str = "") -> None:
        super().__init__(what)
        self.what, self.line, self.todo = what, line, todo


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth, self.values = 0, 0
        self.sizes: dict[yaml.Node, int] = {}
        """The number of values below each complete node. An alias of a missing node is inside that node."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        line, before = event.start_mark.line + 1 if event.start_mark else 0, self.values
        if self.depth == MAX_DEPTH:
            raise _Refused(f"invalid YAML: lists and mappings nested more than {MAX_DEPTH} deep", line)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is None:
            return None
        alias = isinstance(event, yaml.AliasEvent)
        if isinstance(event, yaml.AliasEvent) and node not in self.sizes:
            raise _Refused(f"invalid YAML: the anchor '{event.anchor}' contains itself", line)
        self.values += self.sizes[node] if alias else 1
        if self.values > MAX_VALUES:
            raise _Refused(f"invalid YAML: more than {MAX_VALUES:,} values", line)
        if not alias:
            self.sizes[node] = self.values - before
            _check(node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        line = _line(node)
        try:
            value: object = super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            # A date that does not exist, or a whole number of thousands of digits.
            raise _Refused(f"invalid YAML: {str(error)[:100]}", line, IN_QUOTES) from error
        except (AttributeError, LookupError) as error:
            # PyYAML's errors for a text that does not have the type written before it, for example `!!int x`.
            kind, text = _kind(node), str(node.value)[:40]
            raise _Refused(f"invalid YAML: '{text}' is not a {kind}", line, f"remove {kind}") from error
        if isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
            raise _Refused("a whole number is too large", line, IN_QUOTES)
        return value


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _kind(node: yaml.Node) -> str:
    """The type of a value as YAML writes it, for example `!!set`."""
    return node.tag.replace(STANDARD, "!!")


def _check(node: yaml.Node) -> None:
    if node.tag not in TAGS:
        what = f"invalid YAML: a value of type {_kind(node)} is not allowed"
        raise _Refused(what, _line(node), "write texts, numbers, lists and mappings")
    if isinstance(node, yaml.ScalarNode) and SURROGATES.search(node.value):
        # Half a character, for example by the escape \ud800: neither a file nor a table can store it.
        raise _Refused("invalid YAML: a text contains half a character", _line(node), "write the character itself")
    if isinstance(node, yaml.MappingNode):
        _check_mapping_keys(node)


def _check_mapping_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = _line(key)
        if not isinstance(key, yaml.ScalarNode):
            raise _Refused("invalid YAML: a key must be text, found a list or a mapping", line)
        if key.tag not in (f"{STANDARD}merge", f"{STANDARD}str"):
            found = key.value or "nothing"
            raise _Refused(f"invalid YAML: a key must be text, found {found}", line, f'write "{key.value}"')
        if key.value in lines:
            both = f"lines {lines[key.value]} and {line}" if lines[key.value] != line else f"line {line}"
            raise _Refused(f"the key '{key.value}' is given twice, in {both}", line, "remove one of them")
        lines[key.value] = line
