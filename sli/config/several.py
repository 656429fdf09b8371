"""Which configs paths mean: a file is one, a folder has several; and what two of them must not share.

Limit: a folder's configs lie in the folder itself, not in folders below it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sli.config.extends import EXTENDS, NoMapping, base_file, read_mapping
from sli.config.load import load_config
from sli.config.model import Config
from sli.config.tree import set_key
from sli.engine.storage import on_s3
from sli.errors import ConfigError, SliError

SUFFIXES = (".yaml", ".yml")
KEYS = {EXTENDS, *Config.config_keys()}
OWN = {
    "store": ("store", "a store for each model, since a run takes all results in its store for its own"),
    "model": ("model name", "a name for each model, which tells their results and messages apart"),
}
"""What no two configs may share, and why."""


@dataclass(frozen=True)
class Model:
    """A config file, and its config or why it cannot be used."""

    path: Path
    config: Config | SliError

    @property
    def name(self) -> str:
        """The name of the model, or else of its file."""
        return self.config.model if isinstance(self.config, Config) else str(self.path)


def are_several(paths: Sequence[str]) -> bool:
    """Whether paths mean several configs, even if a folder happens to have only one."""
    return len(paths) > 1 or os.path.isdir(paths[0])


def find_configs(paths: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The configs that files and folders mean, each once, and a line for each YAML file of a folder that is none.

    A config without `model` that another one of them extends is a base, and no model. Raises ConfigError for a folder
    without any config.
    """
    files: dict[Path, _File] = {}
    notes: list[str] = []
    for path in map(Path, paths):
        is_folder = os.path.isdir(path)
        read_files = [_read(file) for file in (_yaml_files(path) if is_folder else [path])]
        configs = [file for file in read_files if file.may_be_config or not is_folder]
        others = (file.path for file in read_files if file not in configs)
        notes += [f"{other} is not a config: it has no key of one" for other in others]
        if not configs:
            raise ConfigError(
                "the config cannot be read: this folder has none",
                where=str(path),
                expected="*.yaml or *.yml files directly in it",
                todo="`sli init` writes one",
            )
        for file in configs:
            files.setdefault(file.path.resolve(), file)
    bases = {file.base for file in files.values()}
    return [file.path for place, file in files.items() if place not in bases or "model" in file.keys], notes


def load_models(paths: Sequence[str], settings: Sequence[str] = ()) -> tuple[list[Model], list[str]]:
    """The models that files and folders mean, and a line for each file that is passed over.

    A file that cannot be used, or that shares what it must not, has its error instead of a config. Raises ConfigError
    for a folder without configs, and for a setting that none of them can have.
    """
    for setting in settings:
        set_key({}, setting)
    files, notes = find_configs(paths)
    loaded = [Model(path, _loaded(path, settings)) for path in files]
    return [Model(model.path, _conflict(model, loaded) or model.config) for model in loaded], notes


def _loaded(path: Path, settings: Sequence[str]) -> Config | SliError:
    try:
        return load_config(path, settings)
    except SliError as error:
        return error


@dataclass(frozen=True)
class _File:
    """A YAML file: its own keys, the base that it extends, and whether it can be a config."""

    path: Path
    keys: Collection[str] = ()
    base: Path | None = None
    may_be_config: bool = True


def _read(path: Path) -> _File:
    """A file as it is by itself. One that cannot be read may be a config, so that its user is told."""
    try:
        tree = read_mapping(path, str(path))
    except NoMapping:
        return _File(path, may_be_config=False)
    except ConfigError:
        return _File(path)
    base = tree.get(EXTENDS)
    place = base_file(base, path).resolve() if isinstance(base, str) else None
    return _File(path, tree.keys(), None if place == path.resolve() else place, bool(KEYS & tree.keys()))


def _yaml_files(folder: Path) -> list[Path]:
    try:
        return sorted(
            file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file() and file.name[0] != "."
        )
    except OSError as error:
        raise ConfigError(f"the folder cannot be read: {error.strerror}", where=str(folder)) from error


def _conflict(model: Model, models: Sequence[Model]) -> ConfigError | None:
    """The error of a config that has the store or the name of another one."""
    config = model.config
    if not isinstance(config, Config):
        return None
    others = [(one.path, one.config) for one in models if one is not model and isinstance(one.config, Config)]
    same = {
        "store": [str(path) for path, other in others if _store(other) == _store(config)],
        "model": [str(path) for path, other in others if other.model == config.model],
    }
    problems = [
        ConfigError(
            f"two configs have the same {OWN[key][0]}",
            where=f"{model.path}, key {key}",
            expected=OWN[key][1],
            found=f"{getattr(config, key)}, also in {', '.join(paths)}",
            todo=f"write another `{key}` in one of them",
        )
        for key, paths in same.items()
        if paths
    ]
    for problem in problems[1:]:
        problems[0].others = f"also model: {problem.what}"
    return problems[0] if problems else None


def _store(config: Config) -> tuple[str, str]:
    """Where a store is: its address, and the server that it is on."""
    if not on_s3(config.store):
        return config.store.removeprefix("file://").rstrip("/"), ""
    return config.store.partition("://")[2].rstrip("/"), config.storage.s3.get("endpoint", "")
