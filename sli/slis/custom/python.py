"""SLIs that are any Python function of two arrays, the labels and the predictions.

Limit: such a function does not merge. It is called on all pairs of an hour or a day; for longer windows on a uniform
sample of SAMPLE_ROWS pairs keyed by output_id, with a bootstrap interval if the window has more pairs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from pathlib import Path

from sli.errors import ConfigError
from sli.slis.catalogue.class_scores import scores_of
from sli.slis.custom.function import (
    Call,
    LazyFunction,
    user_function,
)
from sli.slis.custom.mergeable import Mergeable, from_mergeable
from sli.slis.custom.sampled import UNSCORED, sampled_values
from sli.slis.custom.signature import Parameters, check_signature, scores_parameter, signature_of, source_hash
from sli.slis.formula import Formula, count
from sli.slis.kinds.samples import SampleState
from sli.slis.kinds.windows import WindowState

PYTHON_KEYS = ("name", "python", "of", "weight", "columns", "with", "against")
"""Keys of a config entry with `python`, in addition to `objective`."""


def from_python(
    entry: Mapping[str, object],
    folder: Path,
    of: str,
    classes: tuple[str, ...] = (),
    scores: Mapping[str, str] | None = None,
) -> Formula:
    """The SLI of a config entry: `function(y_true, y_pred)`, or a mergeable one. Raises ConfigError.

    `of` says what y_pred is: decision, prediction or scores. `scores` gives the column of each class's score.
    """
    entry = {key: value for key, value in entry.items() if value is not None}
    function = LazyFunction(str(entry["python"]), folder)
    signature = signature_of(function.call, folder)
    if signature.states is not None:
        return from_mergeable(Mergeable(signature.states, function), entry)
    parameters = signature.parameters
    scores_as = ""
    if classes and of != "scores":
        scores_as = scores_parameter(parameters, entry.get("with"), has_scores=bool(scores))
    scored = scores_of(function.call, classes, scores) if of == "scores" or scores_as else None
    call = _call(entry, parameters, classes, [scores_as] if scores_as else [])
    if scored is not None:
        call["scores"] = {"columns": list(scored.columns), "as": scores_as}
    called = user_function(function, call, [parameter.name for parameter in parameters])
    columns = tuple(sorted({*([called.weight] if called.weight else []), *called.slices, *called.scores}))
    where = "usable" if scored is None else f"usable AND {scored.known}"
    of = "decision" if of == "decision" else "prediction"
    states = {"sample": SampleState(of=of, where=where, columns=columns), "usable": count(where)}
    if scored is not None:
        states[UNSCORED] = count(f"usable AND NOT ({scored.known})")
    if "against" not in entry:
        text, origin = json.dumps(call, sort_keys=True), source_hash(entry, folder)
        states["window"] = WindowState(of=of, where=where, call=text, columns=columns, source=origin)
    return Formula(states, functools.partial(sampled_values, called), entry.get("against"))


def _call(
    entry: Mapping[str, object], parameters: Parameters, classes: tuple[str, ...], filled: Collection[str]
) -> Call:
    """The arguments of the function that its entry gives, as plain values. Raises ConfigError if they do not fit it.

    `filled` are parameters that get their argument in another way.
    """
    call = str(entry["python"])
    weight, columns, constants = entry.get("weight", ""), entry.get("columns", []), entry.get("with", {})
    if not isinstance(weight, str):
        raise ConfigError("`weight` must be the name of a column", where="weight", found=repr(weight))
    if not isinstance(columns, list | tuple) or not all(isinstance(name, str) for name in columns):
        raise ConfigError(
            "`columns` must be a list of columns", where="columns", expected="[a, b]", found=repr(columns)
        )
    if not isinstance(constants, Mapping) or not _is_json(dict(constants)):
        raise ConfigError(
            "`with` must map parameters to constants",
            where="with",
            expected="{average: macro}: numbers, texts, true, false, null, lists and mappings of them",
            found=repr(constants),
        )
    keys = [key for key in ("weight", "columns", "against") if entry.get(key)]
    check_signature(call, parameters, keys, constants, filled)
    return {
        "python": call,
        "weight": weight,
        "columns": list(columns),
        "with": dict(constants),
        "classes": list(classes),
    }


def _is_json(value: object) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False
