"""A YAML text as plain data: mappings with text keys, lists, texts, numbers, dates. Whatever else it holds is an error.

A text is looked at as it is composed, so that what grows without bound is refused before it has grown. Limit: it may
hold DEEPEST mappings and lists within each other and VALUES values, those that aliases repeat among them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from sli.errors import ConfigError
from sli.masking import masked

BYTES = 256 << 10
"""Size of a config."""
DEEPEST = 50
VALUES = 20_000
LARGEST = 1 << 63
SURROGATES = re.compile("[\ud800-\udfff]")
TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge")
}


def read(path: Path) -> str:
    """The text of a config. Raises ConfigError."""
    where = str(path)
    try:
        with path.open("rb") as opened:
            raw = opened.read(BYTES + 1)
        text = raw.decode()
    except OSError as error:
        todo = "`sli init` writes one"
        raise ConfigError(f"the config cannot be read: {error.strerror}", where=where, todo=todo) from error
    except ValueError as error:
        # A text that is no UTF-8, or a path that holds a NUL.
        raise ConfigError("the config is not UTF-8 text", where=where) from error
    if len(raw) > BYTES:
        raise ConfigError("the config is too large", where=where, expected=f"at most {BYTES >> 10} KiB")
    return text


def parsed(text: str, where: str) -> Any:
    """The one document of a text, None where it is empty. Raises ConfigError, with the line."""
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
    def __init__(self, what: str, node: Any, todo: str = "") -> None:
        super().__init__(what)
        self.what, self.line, self.todo = what, node.start_mark.line + 1, todo


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth, self.values = 0, 0
        self.sizes: dict[int, int] = {}
        """Values below each node that is whole; what an alias names and is not here holds that alias itself."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        before, alias = self.values, isinstance(event, yaml.AliasEvent)
        if self.depth == DEEPEST:
            raise _Refused(f"invalid YAML: lists and mappings nested more than {DEEPEST} deep", event)
        self.depth += 1
        node: Any = super().compose_node(parent, index)
        self.depth -= 1
        if alias and id(node) not in self.sizes:
            raise _Refused(f"invalid YAML: the anchor '{event.anchor}' contains itself", event)
        self.values += self.sizes[id(node)] if alias else 1
        if self.values > VALUES:
            raise _Refused(f"invalid YAML: more than {VALUES:,} values", event)
        if not alias:
            self.sizes[id(node)] = self.values - before
            self._check(node)
        return node

    def _check(self, node: Any) -> None:
        if node.tag not in TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise _Refused(f"invalid YAML: a value of type {tag}", node, "write texts, numbers, lists and mappings")
        if isinstance(node, yaml.ScalarNode) and SURROGATES.search(node.value):
            # Half a character, by an escape such as \ud800: neither a file nor a table can hold it.
            raise _Refused("invalid YAML: a text holds half a character", node, "write the character itself")
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, _ in node.value:
                merges = key.tag == "tag:yaml.org,2002:merge"
                if not isinstance(key, yaml.ScalarNode) or not (merges or key.tag == "tag:yaml.org,2002:str"):
                    found = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
                    todo = f'write "{key.value}"' if isinstance(key, yaml.ScalarNode) else ""
                    raise _Refused(f"invalid YAML: a key must be text, found {found or 'nothing'}", key, todo)
                line = key.start_mark.line + 1
                if key.value in lines:
                    both = f"lines {lines[key.value]} and {line}" if lines[key.value] != line else f"line {line}"
                    raise _Refused(f"the key '{key.value}' is given twice, in {both}", key, "remove one of them")
                lines[key.value] = line

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            # A date that there is none of, a whole number of thousands of digits.
            raise _Refused(f"invalid YAML: {str(error)[:100]}", node, "put a text in quotes") from error
        except (AttributeError, LookupError) as error:
            # What PyYAML makes of a text that is none of the tag written before it.
            kind = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise _Refused(f"invalid YAML: '{node.value[:40]}' is no {kind}", node, f"remove {kind}") from error
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise _Refused("a whole number is too large", node, "put a text in quotes")
        return value
