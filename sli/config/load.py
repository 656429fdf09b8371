"""Reading a config: YAML, `${NAME}` from the environment, `key=value` settings, paths.

Limit: environment variables are read only in addresses and options (EXPANDED), never in what is published.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from sli.config.document import parse_yaml, read
from sli.config.explain import explained, place_of
from sli.config.model import Config
from sli.config.references import located
from sli.errors import ConfigError
from sli.masking import keep_secret


def load_config(path: str | Path | Config, settings: Sequence[str] = ()) -> Config:
    """The config of a YAML file, with `key=value` settings applied and `${NAME}` replaced. Raises ConfigError."""
    if isinstance(path, Config):
        return path
    path, where = Path(path), str(path)
    tree = parse_yaml(read(path), where)
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else type(tree).__name__
        raise ConfigError("the config must be a mapping", where=where, found=found, todo="`sli init` writes one")
    for setting in settings:
        _set(tree, setting)
    tree = {key: _expanded(value, where, (key,)) for key, value in tree.items()}
    folder = str(path.resolve().parent)
    _resolve(tree, folder)
    return checked({**tree, "folder": folder}, where)


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
EXPANDED = (
    ("store",),
    ("predictions", "path"),
    ("feedback", "path"),
    ("storage", "**"),
    ("dask", "scheduler"),
    ("dask", "options", "**"),
    ("bins", "*", "table"),
    ("slis", "*", "against", "table"),
)
"""Keys whose texts may name environment variables: `*` is any one key, `**` all keys below."""


def _expanded(tree: object, where: str, at: tuple[str | int, ...] = ()) -> object:
    """The tree with `${NAME}` replaced from the environment where that is allowed. Raises ConfigError."""
    if isinstance(tree, dict):
        return {key: _expanded(value, where, (*at, key)) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_expanded(value, where, (*at, position)) for position, value in enumerate(tree)]
    if not isinstance(tree, str) or not VARIABLE.search(tree):
        return tree
    if not any(_matches(at, pattern) for pattern in EXPANDED):
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


def _matches(at: tuple[str | int, ...], pattern: tuple[str, ...]) -> bool:
    if pattern[-1] == "**":
        return len(at) >= len(pattern) and _matches(at[: len(pattern) - 1], pattern[:-1])
    return len(at) == len(pattern) and all(part in ("*", key) for part, key in zip(pattern, at, strict=True))


def _set(tree: dict[str, object], setting: str) -> None:
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
    if not isinstance(section, dict):
        raise ConfigError(f"'{key}' cannot be set", where="--set", expected="a key, or a key of a mapping", found=found)
    try:
        section[last] = parse_yaml(text, "--set")
    except ConfigError as error:
        error.where, error.found = f"--set {key}", found
        raise


def _resolve(tree: dict[str, object], folder: str) -> None:
    """Make paths relative to the config's folder absolute; leave wrong types alone."""
    for section, key in ((tree, "store"), (tree.get("predictions"), "path"), (tree.get("feedback"), "path")):
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = located(section[key], folder)
