"""Reading a config: its file and bases, `key=value` settings, `${NAME}` from the environment, paths.

Limit: environment variables are read only in addresses and options (EXPANDED), never in what is published.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from sli.config.document import parse_yaml
from sli.config.explain import explained, place_of
from sli.config.extends import EXTENDS, PATHS, At, PathFrom, folder_of, is_path, matches, with_bases
from sli.config.model import Config
from sli.config.references import located
from sli.errors import ConfigError
from sli.masking import keep_secret


def load_config(path: str | Path | Config, settings: Sequence[str] = ()) -> Config:
    """The config of a YAML file, with `key=value` settings applied and `${NAME}` replaced. Raises ConfigError."""
    if isinstance(path, Config):
        return path
    layers = with_bases(Path(path))
    for setting in settings:
        set_key(layers.tree, setting)
    folder = folder_of(layers.files[0])
    tree = {key: _expanded(value, layers.name, folder, (key,)) for key, value in layers.tree.items()}
    # The code that a base names lies beside the base.
    folders = {"folder": layers.folder_of("slis"), "dask_folder": layers.folder_of("dask")}
    return checked({**tree, **folders}, layers.name)


def checked(tree: Mapping[str, object], where: str = "config") -> Config:
    """A Config from a plain mapping. Raises ConfigError naming every wrong key."""
    try:
        return Config.model_validate(dict(tree))
    except ValidationError as error:
        raise explained(error, where) from error
    except ConfigError as error:
        error.where = f"{where}, {error.where}" if error.where else where
        raise


VARIABLE = re.compile(r"\$\{(\w+)\}")
EXPANDED = (*PATHS, ("storage", "**"), ("dask", "scheduler"), ("dask", "options", "**"))
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
            expected="`${NAME}` only in `store`, `path`, `table`, `storage`, and the scheduler or options of `dask`",
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
    found = key if key.strip().startswith("storage") else setting
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
