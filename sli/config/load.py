"""Reading a config: YAML, `${NAME}` from the environment, `key=value` settings.

Limit: environment variables are read only where something lies (EXPANDED), never in what is published.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sli.config.document import parsed, read
from sli.config.explain import explained
from sli.config.model import Config
from sli.errors import ConfigError
from sli.masking import keep_secret


def load_config(path: str | Path | Config, settings: Sequence[str] = ()) -> Config:
    """Read, apply `key=value` settings, expand `${NAME}`, check. Raises ConfigError."""
    if isinstance(path, Config):
        return path
    path, where = Path(path), str(path)
    tree = parsed(read(path), where)
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else type(tree).__name__
        raise ConfigError("the config must be a mapping", where=where, found=found, todo="`sli init` writes one")
    for each in settings:
        _set(tree, each)
    tree = _expanded(tree, where)
    folder = path.resolve().parent
    _resolve(tree, folder)
    return checked({**tree, "folder": str(folder)}, where)


def checked(tree: dict[str, Any], where: str = "config") -> Config:
    """A Config from a plain mapping. Raises ConfigError naming every wrong key."""
    try:
        return Config(**tree)
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
    ("storage", ...),
    ("dask", "scheduler"),
    ("dask", "options", ...),
    ("bins", "*", "table"),
    ("slis", "*", "against", "table"),
)
"""Keys whose texts may name environment variables: where things lie, never what is published. `...`: all below."""


def _expanded(tree: Any, where: str, at: tuple[str, ...] = ()) -> Any:
    """The tree with `${NAME}` replaced from the environment where it may be. Raises ConfigError."""
    if isinstance(tree, dict):
        return {key: _expanded(value, where, (*at, key)) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_expanded(value, where, (*at, str(place))) for place, value in enumerate(tree)]
    if not isinstance(tree, str) or not VARIABLE.search(tree):
        return tree
    if not any(map(functools.partial(_lies_in, at), EXPANDED)):
        raise ConfigError(
            "environment variables are not read here",
            where=f"{where}, key {'.'.join(at)}",
            expected="`${NAME}` only in `store`, `path`, `table`, `storage`, and the scheduler or options of `dask`",
            found=tree,
            todo="write the value itself, or pass it with --set",
        )

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise ConfigError(f"the environment has no variable {found[1]}", where=where, todo=f"export {found[1]}=...")
        keep_secret(os.environ[found[1]], found[0])
        return os.environ[found[1]]

    text = VARIABLE.sub(value, tree)
    keep_secret(text, tree)
    return text


def _lies_in(at: tuple[str, ...], place: tuple[Any, ...]) -> bool:
    if place[-1] is ...:
        return len(at) >= len(place) and _lies_in(at[: len(place) - 1], place[:-1])
    return len(at) == len(place) and all(part in ("*", key) for part, key in zip(place, at, strict=True))


def _set(tree: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError("a setting must be key=value", where="--set", found=setting)
    # What is wrong may be a secret.
    found = key if key.strip().startswith("storage") else setting
    at: Any = tree
    *parents, last = key.strip().split(".")
    for name in parents:
        at = at.setdefault(name, {}) if isinstance(at, dict) else None
    if not isinstance(at, dict):
        raise ConfigError(f"'{key}' cannot be set", where="--set", found=found)
    try:
        at[last] = parsed(text, "--set")
    except ConfigError as error:
        error.where, error.found = f"--set {key}", found
        raise


def _resolve(tree: dict[str, Any], folder: Path) -> None:
    """Make paths relative to the config's folder absolute; leave URLs and wrong types alone."""
    for holder, key in ((tree, "store"), (tree.get("predictions"), "path"), (tree.get("feedback"), "path")):
        if isinstance(holder, dict) and isinstance(holder.get(key), str) and "://" not in holder[key]:
            holder[key] = str((folder / Path(holder[key]).expanduser()).resolve())
