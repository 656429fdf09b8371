"""Files must agree on the types of their ids and of the columns that slices and SLIs use; the minority is set aside.

Limit: each file has one vote, however many rows it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from sli.config.model import Config
from sli.errors import ConfigError
from sli.logs.files import Files, Inputs, LogFile
from sli.slices import SliceBy

NESTED = ("list", "large_list", "fixed_size_list", "struct", "map")
TEXT, ANY = "text", "null"


def set_aside_disagreeing(config: Config, inputs: Inputs) -> Inputs:
    """The same inputs, with the files set aside whose types disagree with most others."""
    predictions = _with_same_columns(inputs.predictions, config.columns, config.slice_sets)
    return _with_same_ids(Inputs(predictions, inputs.feedback), config.predictions.id, config.feedback.id)


def with_usable_slices(config: Config, inputs: Inputs) -> Config:
    """The config without the slices by columns of lists or structs. Raises ConfigError if no slice is left."""
    types = nested_types(config.slice_sets, inputs)
    if not types:
        return config
    settings = zip(config.slice_by, config.slice_sets, strict=True)
    kept = [setting for setting, columns in settings if not types.keys() & set(columns)]
    if not kept:
        name, kind = next(iter(types.items()))
        raise ConfigError(
            "no column of `slice_by` can be sliced by",
            where="slice_by",
            expected="columns of text, numbers, booleans or times",
            found=f"'{name}' is {kind}",
            todo="write `slice_by: [[]]` for all predictions together",
        )
    sets = tuple(columns for columns in config.slice_sets if not types.keys() & set(columns))
    # Definitions must stay as the written config gives them: readers look for results by these.
    return config.model_copy(update={"slice_by": tuple(kept), "slice_sets": sets, "caps": config.caps})


def nested_types(slice_sets: Sequence[SliceBy], inputs: Inputs) -> dict[str, str]:
    """The types of the slice columns that are lists or structs in a usable file, by name."""
    files = inputs.predictions
    nested = {}
    for place in np.unique(files.kinds.of_file[files.usable]):
        types = {name: kind for name, kind in files.kinds.all[place] if _family(kind).startswith(NESTED)}
        nested.update({name: types[name] for name in _slice_columns(slice_sets) if name in types})
    return nested


def _slice_columns(slice_sets: Sequence[SliceBy]) -> list[str]:
    return sorted({name for columns in slice_sets for name in columns})


def _family(kind: str) -> str:
    """The name of a group of types that one column may have, for example `number`; a nested type is a group alone."""
    if kind.startswith(NESTED) or kind == "null":
        return kind
    if kind.startswith(("string", "large_string", "hive", "dictionary")):
        return TEXT
    family = next((name for name in ("timestamp", "date", "time", "binary") if name in kind), "number")
    return "timestamp" if family == "date" else family


def _with_same_columns(files: Files, names: Sequence[str], slice_sets: Sequence[SliceBy]) -> Files:
    for name in names:
        families = [_family(dict(columns).get(name, "")) for columns in files.kinds.all]
        if len({*families} - {TEXT, ANY}) + (TEXT in families) < 2:
            continue  # almost always
        counts = Counter(families[kind] for kind in files.kinds.of_file[files.usable])
        usual = _usual_families(counts, name in _slice_columns(slice_sets))
        expected = " or ".join(sorted(usual - {ANY}))

        def explain(file: LogFile, name: str = name, expected: str = expected) -> str:
            return f"column '{name}' is {file.types[name]}, expected {expected} as in the other files"

        files = _set_aside(files, [family not in usual for family in families], "wrong type", explain)
    return files


def _usual_families(counts: Counter[str], sliced: bool) -> set[str]:
    """The families of types of a column that most files have, if one column may have them together."""
    single = {family for family in counts if not family.startswith(NESTED)}
    if sliced and single - {ANY}:
        counts = Counter({family: counts[family] for family in single})
    # Everything but nested types can be read as text.
    others = [family for family in counts if family not in (TEXT, ANY)]
    if not others:
        return {TEXT, ANY}
    most = max(others, key=lambda family: (counts[family], family))
    if most.startswith(NESTED):
        return {TEXT, ANY} if counts[TEXT] > counts[most] else {most, ANY}
    return {TEXT, ANY, most}


def _with_same_ids(inputs: Inputs, prediction_id: str, feedback_id: str) -> Inputs:
    """The same inputs, with the files set aside whose ids are of another kind than in most files of predictions."""
    predictions = inputs.predictions
    kinds = [_id_kind(dict(columns).get(prediction_id, "")) for columns in predictions.kinds.all]
    counts = Counter(kinds[kind] for kind in predictions.kinds.of_file[predictions.usable])
    if not counts:
        return inputs
    # Where both kinds have as many files, the kind of the first file wins.
    usual = max(counts, key=lambda kind: counts[kind])
    first = next(file for file in predictions if file.usable and _id_kind(file.types[prediction_id]) == usual)

    def check(files: Files, column: str) -> Files:
        def explain(file: LogFile) -> str:
            theirs = first.types[prediction_id]
            return f"ids ('{column}') are {file.types[column]}, but {theirs} in {first.path}"

        unusual = [_id_kind(dict(columns).get(column, "")) != usual for columns in files.kinds.all]
        return _set_aside(files, unusual, "wrong id type", explain)

    return Inputs(check(predictions, prediction_id), check(inputs.feedback, feedback_id))


def _id_kind(id_type: str) -> str:
    return "integer" if "int" in id_type and "dictionary" not in id_type else "text"


def _set_aside(files: Files, unusual: list[bool], check: str, explain: Callable[[LogFile], str]) -> Files:
    """The same files, with the usable ones of the unusual kinds set aside."""
    wrong = np.flatnonzero(files.usable & np.array(unusual, bool)[files.kinds.of_file])
    if not len(wrong):
        return files
    return files.replace_at(wrong, [file.set_aside(check, explain(file)) for file in files.take(wrong)])
