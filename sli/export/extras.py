"""Packages that only one sink needs, installed as an extra. Limit: known by the name of the module that is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sli.errors import ConfigError


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """A context for importing what an extra installs. Raises ConfigError that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`export.{name}` needs the package {error.name}", todo=f"pip install 'sli-recompute[{name}]'"
        ) from error
