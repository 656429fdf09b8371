"""What a plan needs to know of a user's function: its source, its parameters, and whether they fit its entry.

Limit: a compiled function may hide its parameters; then sli supposes that it accepts any two arrays.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from sli.errors import ConfigError, check_known
from sli.slis.custom.imports import load, source
from sli.slis.custom.mergeable import Mergeable
from sli.slis.custom.source_file import Signature, read_signature
from sli.slis.custom.sql import needs_labels

SCORES = ("y_score", "y_proba")
"""Names of parameters that get the scores of all classes in a multiclass task, also as the second parameter."""
KEYS = {"sample_weight": "weight", "weight": "weight", "slices": "columns", "reference": "against"}
"""The key of a config entry that fills a function's parameter of this name."""
EXAMPLES = {"weight": "weight: COLUMN", "columns": "columns: [COLUMN]", "against": "against: previous"}
COMPILED = (inspect.Parameter("arrays", inspect.Parameter.VAR_POSITIONAL),)
"""Parameters of a compiled function that hides them."""

Parameters = Sequence[inspect.Parameter]


def signature_of(call: str, folder: Path) -> Signature:
    """The signature of a function, from its file if that is enough, else by importing it. Raises ConfigError."""
    if signature := read_signature(call, folder):
        return signature
    function = load(call, folder)
    if isinstance(function, Mergeable):
        return Signature(source(function.value), (), function.states)
    try:
        return Signature(source(function), tuple(inspect.signature(function).parameters.values()))
    except (TypeError, ValueError):
        return Signature(source(function), COMPILED)


def source_hash(entry: Mapping[str, object], folder: Path) -> str:
    """Hash of the source of an entry's function, for the SLI's definition."""
    signature = signature_of(str(entry["python"]), folder)
    parts = [signature.source]
    if signature.states is not None:
        parts.append(f"needs labels: {needs_labels(signature.states.values())}")
        parts += sorted(f"{name}={state.id}" for name, state in signature.states.items())
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def y_pred(entry: Mapping[str, object], folder: Path, task: str) -> str:
    """The second argument of an entry's function: decision, prediction or scores. Raises ConfigError."""
    if "of" in entry:
        return str(entry["of"])
    if task == "multiclass":
        second = [parameter.name for parameter in signature_of(str(entry["python"]), folder).parameters[1:2]]
        return "scores" if set(second) & set(SCORES) else "prediction"
    return "decision" if task == "binary" else "prediction"


def scores_parameter(parameters: Parameters, constants: object, has_scores: bool) -> str:
    """The parameter after the second one that gets the scores; "" if none does.

    A parameter with a default gets them only if the config has scores; one that `with` fills never does.
    """
    filled = constants if isinstance(constants, Mapping) else {}
    named = {p.name: p for p in parameters[2:] if p.kind is not p.POSITIONAL_ONLY and p.name not in filled}
    return next((name for name in SCORES if name in named and (has_scores or _is_required(named[name]))), "")


def check_signature(
    call: str, parameters: Parameters, keys: Collection[str], constants: Mapping[str, object], filled: Collection[str]
) -> None:
    """Raise ConfigError unless the function takes what its entry gives and needs nothing else.

    `keys` are the keys of the entry that fill a parameter, `constants` the parameters that `with` fills, and `filled`
    the parameters that are filled in another way.
    """
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(by_place) < 2 and all(p.kind is not p.VAR_POSITIONAL for p in parameters):
        raise ConfigError(f"'{call}' does not take two arrays", where="python", expected="function(y_true, y_pred)")
    rest = [p for p in parameters if p not in by_place[:2] and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    named = [p.name for p in rest if p.kind is not p.POSITIONAL_ONLY]
    by_key = {_parameter_of(key, call, named, constants) for key in keys}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        _check_constants(call, named, constants)
    for p in rest:
        if _is_required(p) and p.name not in {*constants, *filled, *by_key}:
            key = KEYS.get(p.name, "with")
            raise ConfigError(
                f"'{call}' needs '{p.name}', but the key '{key}' does not give it",
                where=key,
                todo=f"write {EXAMPLES.get(key, f'with: {{{p.name}: ...}}')}",
            )


def _parameter_of(key: str, call: str, named: Collection[str], constants: Collection[str]) -> str:
    """The function's parameter that a key of the entry fills. Raises ConfigError."""
    names = [name for name, key_of_name in KEYS.items() if key_of_name == key]
    parameter = next((name for name in names if name in named), None)
    if parameter is None:
        raise ConfigError(
            f"'{call}' has no parameter {' or '.join(names)}, which the key '{key}' would fill",
            where=key,
            todo=f"remove '{key}', or give the function that parameter",
        )
    if parameter in constants:
        raise ConfigError(f"'{key}' and 'with' both give '{parameter}' to '{call}'", where="with")
    return parameter


def _check_constants(call: str, named: Collection[str], constants: Mapping[str, object]) -> None:
    for name in constants:
        check_known(f"'{call}' has no parameter '{name}'", name, named, where="with", nothing="none")


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty
