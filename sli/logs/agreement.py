"""What types the files of the logs must agree on: those of the ids, and of the columns that slices and SLIs look at.

The files that most others do not agree with are set aside. Limit: a file counts as one, however many rows it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from sli.config.model import Config
from sli.errors import ConfigError
from sli.logs.files import Files, Inputs, LogFile

NESTED = ("list", "large_list", "fixed_size_list", "struct", "map")
TEXT, ANY = "text", "null"


def agreed(config: Config, inputs: Inputs) -> Inputs:
    """The same, with those files set aside whose types are others than those of the rest."""
    return _same_ids(config, Inputs(_same_columns(config, inputs.predictions), inputs.feedback))


def sliceable(config: Config, inputs: Inputs) -> Config:
    """The config without the slices by columns that hold no single values in any file. Raises ConfigError."""
    found = nested(config, inputs)
    if not found:
        return config
    kept = [
        setting
        for setting, columns in zip(config.slice_by, config.slice_sets, strict=True)
        if not found.keys() & set(columns)
    ]
    if not kept:
        name, kind = next(iter(found.items()))
        raise ConfigError(
            "no column of `slice_by` can be sliced by",
            where="slice_by",
            expected="columns of text, numbers, booleans or times",
            found=f"'{name}' is {kind}",
            todo="write `slice_by: [[]]` for all predictions together",
        )
    sets = tuple(each for each in config.slice_sets if not found.keys() & set(each))
    # Its definitions stay those of the config as it stands, by which results are looked for.
    return config.model_copy(update={"slice_by": tuple(kept), "slice_sets": sets, "caps": config.caps})


def nested(config: Config, inputs: Inputs) -> dict[str, str]:
    """The columns of slices that are lists or structs in every usable file that has values of them, and their type."""
    files = inputs.predictions
    found = {}
    for place in np.unique(files.kinds.of[files.usable]):
        types = {name: kind for name, kind in files.kinds.every[place] if _family(kind).startswith(NESTED)}
        found.update({name: types[name] for name in _sliced(config) if name in types})
    return found


def _sliced(config: Config) -> list[str]:
    return sorted({name for each in config.slice_sets for name in each})


def _family(kind: str) -> str:
    """What a type has in common with all that can stand in one column with it; a list's is of its own type only."""
    if kind.startswith(NESTED) or kind == "null":
        return kind
    if kind.startswith(("string", "large_string", "hive", "dictionary")):
        return TEXT
    found = next((name for name in ("timestamp", "date", "time", "binary") if name in kind), "number")
    return "timestamp" if found == "date" else found


def _same_columns(config: Config, files: Files) -> Files:
    for name in config.columns:
        families = [_family(dict(each).get(name, "")) for each in files.kinds.every]
        if len({*families} - {TEXT, ANY}) + (TEXT in families) < 2:
            continue  # as almost always
        usual = _usual(Counter(families[each] for each in files.kinds.of[files.usable]), name in _sliced(config))
        expected = " or ".join(sorted(usual - {ANY}))

        def explain(file: LogFile, name: str = name, expected: str = expected) -> str:
            return f"column '{name}' is {file.types[name]}, expected {expected} as in the other files"

        files = _set_aside(files, [each not in usual for each in families], "wrong type", explain)
    return files


def _usual(counts: Counter[str], sliced: bool) -> set[str]:
    """Which of the families of a column can stand together, and are those of the most files."""
    single = {each for each in counts if not each.startswith(NESTED)}
    if sliced and single - {ANY}:
        counts = Counter({each: counts[each] for each in single})
    # Text takes in everything but lists.
    others = [each for each in counts if each not in (TEXT, ANY)]
    if not others:
        return {TEXT, ANY}
    most = max(others, key=lambda each: (counts[each], each))
    if most.startswith(NESTED):
        return {TEXT, ANY} if counts[TEXT] > counts[most] else {most, ANY}
    return {TEXT, ANY, most}


def _same_ids(config: Config, inputs: Inputs) -> Inputs:
    """Set files aside whose ids are of another kind than those of most files of predictions."""
    predictions, column = inputs.predictions, config.predictions.id
    kinds = [_id_kind(dict(each).get(column, "")) for each in predictions.kinds.every]
    counts = Counter(kinds[each] for each in predictions.kinds.of[predictions.usable])
    if not counts:
        return inputs
    # Of as many the one that comes first.
    known = max(counts, key=lambda each: counts[each])
    first = next(file for file in predictions if file.usable and _id_kind(file.types[column]) == known)

    def check(files: Files, column: str) -> Files:
        def explain(file: LogFile) -> str:
            theirs = first.types[config.predictions.id]
            return f"ids ('{column}') are {file.types[column]}; those of {first.path} are {theirs}"

        other = [_id_kind(dict(each).get(column, "")) != known for each in files.kinds.every]
        return _set_aside(files, other, "wrong id type", explain)

    return Inputs(check(predictions, column), check(inputs.feedback, config.feedback.id))


def _id_kind(id_type: str) -> str:
    return "integer" if "int" in id_type and "dictionary" not in id_type else "text"


def _set_aside(files: Files, other: list[bool], check: str, explain: Callable[[LogFile], str]) -> Files:
    """The same, with the usable files of some kinds set aside."""
    wrong: Any = np.flatnonzero(files.usable & np.array(other, bool)[files.kinds.of])
    if not len(wrong):
        return files
    return files.with_replaced(wrong, [each.set_aside(check, explain(each)) for each in files.take(wrong)])
