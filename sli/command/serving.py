"""`sli serve`: the pages of models, live, until it is interrupted.

Limit: the configs are read once, when it starts.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from sli.command.output import print_lines, print_warnings
from sli.config.load import load_config
from sli.config.several import Model, are_several, load_models
from sli.errors import ConfigError, SliError


def serve(options: argparse.Namespace) -> int:
    """Serve until interrupted; returns the exit code. Raises SliError."""
    try:
        from sli.serve.models import served_models
        from sli.serve.server import serve as listen
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`sli serve` needs the package {error.name}", todo="pip install 'sli-recompute[serve]'"
        ) from error
    models = _models(options)

    def ready(address: str) -> None:
        names = ", ".join(model.name for model in models)
        print_lines([f"serving {names} at {address}, to this machine alone; Ctrl-C ends it"])
        sys.stdout.flush()

    with contextlib.suppress(KeyboardInterrupt):
        listen(served_models(models), options.port, ready)
    return 0


def _models(options: argparse.Namespace) -> list[Model]:
    """The models to serve. Raises SliError, of several configs only if none can be served."""
    if not are_several(options.configs):
        return [Model(Path(options.configs[0]), load_config(options.configs[0], options.settings))]
    models, notes = load_models(options.configs, options.settings)
    print_warnings(notes)
    errors = [model.config for model in models if isinstance(model.config, SliError)]
    print_warnings([f"{model.name}: {model.config}" for model in models if isinstance(model.config, SliError)])
    if len(errors) == len(models):
        raise errors[0]
    return models
