"""A config as a plain tree: its file and bases, `key=value` settings, `${NAME}` from the environment, paths.

Limit: environment variables are read only in addresses and options (EXPANDED), never in what is published. Nothing here
knows what the keys mean, so this costs a tenth of the typed config.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sli.config.document import parse_yaml
from sli.config.extends import (
    EXTENDS,
    PATHS,
    At,
    Layers,
    PathFrom,
    folder_of,
    is_path,
    located,
    matches,
    place_of,
    with_bases,
)
from sli.errors import ConfigError
from sli.masking import keep_secret

ELSEWHERE = {"table", "python", "factory", "where"}
"""Keys, at any depth, that name something outside of the config and the logs, or that leave files of a log out."""


@dataclass(frozen=True)
class Tree:
    """The keys of a config and its bases together, and what the files are called in messages."""

    keys: Mapping[str, object]
    layers: Layers

    def digest(self, version: str) -> str:
        """A hash of all keys but `storage` and `export`; empty if they name something elsewhere. `version` is sli's."""
        keys = {key: value for key, value in self.keys.items() if key not in ("storage", "export")}
        if ELSEWHERE & _all_keys(keys):
            return ""
        return hashlib.sha256(json.dumps([version, keys], sort_keys=True, default=str).encode()).hexdigest()


def _all_keys(tree: object) -> set[str]:
    below = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return {*(tree if isinstance(tree, dict) else ()), *(key for value in below for key in _all_keys(value))}


def read_tree(path: Path, settings: Sequence[str] = ()) -> Tree:
    """The tree of a YAML file, with settings applied and `${NAME}` replaced. Raises ConfigError."""
    layers = with_bases(path)
    for setting in settings:
        set_key(layers.tree, setting)
    folder = folder_of(layers.files[0])
    return Tree({key: _expanded(value, layers.name, folder, (key,)) for key, value in layers.tree.items()}, layers)


VARIABLE = re.compile(r"\$\{(\w+)\}")
EXPANDED = (*PATHS, ("storage", "**"), ("dask", "scheduler"), ("dask", "options", "**"), ("export", "**"))
"""Keys whose texts may name environment variables: `*` is any one key or position, `**` all keys below."""


def _expanded(tree: object, where: str, folder: str, at: At) -> object:
    """The tree with `${NAME}` replaced from the environment where that is allowed, and absolute paths.

    Paths that no file of the config wrote are relative to `folder`. Raises ConfigError.
    """
    if isinstance(tree, dict):
        return {key: _expanded(value, where, folder, (*at, key)) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_expanded(value, where, folder, (*at, position)) for position, value in enumerate(tree)]
    if isinstance(tree, PathFrom):
        return located(_with_variables(tree.text, where, at), tree.folder)
    if not isinstance(tree, str):
        return tree
    text = _with_variables(tree, where, at)
    return located(text, folder) if is_path(at) else text


def _with_variables(tree: str, where: str, at: At) -> str:
    if not VARIABLE.search(tree):
        return tree
    if not any(matches(at, pattern) for pattern in EXPANDED):
        raise ConfigError(
            "environment variables are not read in this key",
            where=f"{where}, key {place_of(at)}",
            expected="`${NAME}` only in `store`, `path`, `table`, `storage`, `export`, `dask.scheduler` or `.options`",
            found=tree,
            todo="write the value itself, or pass it with --set",
        )

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            raise ConfigError(f"the environment has no variable {name}", where=where, todo=f"export {name}=...")
        keep_secret(os.environ[name], match[0])
        return os.environ[name]

    text = VARIABLE.sub(value, tree)
    keep_secret(text, tree)
    return text


def set_key(tree: dict[str, object], setting: str) -> None:
    """Set a key, for example `predictions.path=logs`. Raises ConfigError."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(
            "a setting must be key=value", where="--set", expected="for example horizon=2d", found=setting
        )
    # The value may be a secret.
    found = key if key.strip().startswith(("storage", "export")) else setting
    section: object = tree
    *parents, last = key.strip().split(".")
    for name in parents:
        section = section.setdefault(name, {}) if isinstance(section, dict) else None
    if not isinstance(section, dict) or key.strip() == EXTENDS:
        raise ConfigError(f"'{key}' cannot be set", where="--set", expected="a key, or a key of a mapping", found=found)
    try:
        section[last] = parse_yaml(text, "--set")
    except ConfigError as error:
        error.where, error.found = f"--set {key}", found
        raise
