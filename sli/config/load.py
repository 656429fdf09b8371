"""Reading a config: its tree, checked and typed. Limit: it reads the config's files each time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from sli.config.explain import explained
from sli.config.model import Config
from sli.config.tree import read_tree
from sli.errors import ConfigError


def load_config(path: str | Path | Config, settings: Sequence[str] = ()) -> Config:
    """The config of a YAML file, with `key=value` settings applied and `${NAME}` replaced. Raises ConfigError."""
    if isinstance(path, Config):
        return path
    tree = read_tree(Path(path), settings)
    layers = tree.layers
    # The code that a base names lies beside the base.
    folders = {"folder": layers.folder_of("slis"), "dask_folder": layers.folder_of("dask")}
    # Not by an import statement: a wing does not import the face of the package.
    digest = {"digest": tree.digest(sys.modules["sli"].__version__)}
    return checked({**tree.keys, **folders, **digest}, layers.name)


def checked(tree: Mapping[str, object], where: str = "config") -> Config:
    """A Config from a plain mapping. Raises ConfigError naming every wrong key."""
    try:
        return Config.model_validate(dict(tree))
    except ValidationError as error:
        raise explained(error, where) from error
    except ConfigError as error:
        error.where = f"{where}, {error.where}" if error.where else where
        raise
