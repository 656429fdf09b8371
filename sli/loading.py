"""Reading a config: YAML, `${NAME}` from the environment, `key=value` settings, and errors a person can act on.

Limit: the first wrong key is explained in full, the others are named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sli.config import Closed, Config, Feedback, Predictions, Sliding, Workers
from sli.errors import ConfigError, nearest


def load_config(path: str | Path | Config, settings: Sequence[str] = ()) -> Config:
    """Read, expand `${NAME}`, apply `key=value` settings, check. Raises ConfigError."""
    if isinstance(path, Config):
        return path
    path = Path(path)
    try:
        tree = _expanded(yaml.safe_load(path.read_text()), path)
    except OSError as error:
        raise ConfigError(
            f"the config cannot be read: {error.strerror}", where=str(path), todo="`sli init` writes one"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("the config is no text in UTF-8", where=str(path)) from error
    except yaml.YAMLError as error:
        raise ConfigError("the config is no YAML", where=str(path), found=str(error).replace("\n", " ")) from error
    if not isinstance(tree, dict):
        raise ConfigError("the config must be a mapping", where=str(path), found=type(tree).__name__)
    for each in settings:
        _set(tree, each)
    folder = path.resolve().parent
    _resolve(tree, folder)
    return checked({**tree, "folder": str(folder)}, str(path))


def checked(tree: dict[str, Any], where: str = "config") -> Config:
    """A Config from a plain mapping. Raises ConfigError naming every wrong key."""
    try:
        return Config(**tree)
    except ValidationError as error:
        raise _explained(error, where) from error
    except ConfigError as error:
        error.where = f"{where}, {error.where}" if error.where else where
        raise


def _expanded(tree: Any, path: Path) -> Any:
    """The tree with `${NAME}` in its texts replaced from the environment."""
    if isinstance(tree, dict):
        return {key: _expanded(value, path) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_expanded(value, path) for value in tree]
    if not isinstance(tree, str):
        return tree

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise ConfigError(
                f"the environment has no variable {found[1]}",
                where=str(path),
                todo=f"export {found[1]}=...",
            )
        return os.environ[found[1]]

    return re.sub(r"\$\{(\w+)\}", value, tree)


def _set(tree: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError("a setting must be key=value", where="--set", found=setting)
    at: Any = tree
    *parents, last = key.strip().split(".")
    for name in parents:
        at = at.setdefault(name, {}) if isinstance(at, dict) else None
    if not isinstance(at, dict):
        raise ConfigError(f"'{key}' cannot be set", where="--set", found=setting)
    try:
        at[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of '{key}' is no YAML", where="--set", found=setting) from error


def _resolve(tree: dict[str, Any], folder: Path) -> None:
    """Make paths relative to the config's folder absolute; leave URLs and wrong types alone."""
    for holder, key in ((tree, "store"), (tree.get("predictions"), "path"), (tree.get("feedback"), "path")):
        if isinstance(holder, dict) and isinstance(holder.get(key), str) and "://" not in holder[key]:
            holder[key] = str((folder / Path(holder[key]).expanduser()).resolve())


_MODELS: dict[str, type[Closed]] = {
    "predictions": Predictions,
    "feedback": Feedback,
    "grains": Sliding,
    "dask": Workers,
}


def _explained(error: ValidationError, where: str) -> ConfigError:
    reports = [dict(each) for each in error.errors()]
    # A value of several allowed kinds is reported for each kind; a mapping is meant as the kind that is one.
    skipped = {
        id(each)
        for each in reports
        if (isinstance(each["input"], dict) and each["type"] in ("literal_error", "model_type"))
        or (not isinstance(each["input"], dict) and each["type"] in ("model_type", "model_attributes_type"))
    }
    found = [_problem(each) for each in reports if id(each) not in skipped] or [_problem(each) for each in reports]
    # A value of several allowed kinds is reported once for each kind; one report a key is enough.
    found.sort(key=lambda problem: not problem.what.startswith("unknown key"))
    first = list({problem.where.split(".")[0] + problem.what: problem for problem in reversed(found)}.values())[::-1]
    main, rest = first[0], first[1:]
    main.where = f"{where}, key {main.where}"
    main.others = "\n".join(f"also {each.where}: {each.what}" for each in rest)
    return main


def _problem(each: dict[str, Any]) -> ConfigError:
    path = [str(part) for part in each["loc"] if not str(part)[:1].isupper() and "literal" not in str(part)]
    model = _MODELS.get(path[0], Config) if len(path) > 1 else Config
    valid = [name for name in model.model_fields if name != "folder"]
    where = ".".join(path)
    if each["type"] == "extra_forbidden":
        return ConfigError(
            f"unknown key '{path[-1]}'",
            where=where,
            expected=f"one of {', '.join(valid)}",
            todo=nearest(path[-1], valid),
        )
    if each["type"] == "missing":
        return ConfigError(
            f"'{path[-1]}' is missing", where=where, todo=f"add `{path[-1]}:`; `sli init` writes a commented config"
        )
    if each["type"] == "literal_error":
        valid = re.findall(r"'([^']*)'", str(each["ctx"]["expected"]))
        return ConfigError(
            "not an allowed value",
            where=where,
            expected=" or ".join(valid),
            found=str(each["input"]),
            todo=nearest(str(each["input"]), valid),
        )
    if each["type"] == "tuple_type":
        expected = "a list of lists, such as [[], [region]]" if path[0] == "slice_by" else "a list, such as [...]"
        return ConfigError("this must be a list", where=where, expected=expected, found=repr(each["input"]))
    if each["type"] == "string_pattern_mismatch":
        return ConfigError("this is no size", where=where, expected="such as 2GB or 512MiB", found=repr(each["input"]))
    what = str(each["msg"]).removeprefix("Value error, ")
    return ConfigError(what[:1].lower() + what[1:], where=where, found=repr(each["input"]))
