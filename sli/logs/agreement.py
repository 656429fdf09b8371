"""Files must agree on the types of their ids and of the columns that slices and SLIs use; the minority is set aside.

Limit: each file has one vote, however many rows it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

import numpy as np

from sli.config.model import Config
from sli.errors import ConfigError
from sli.logs.fields import type_of
from sli.logs.files import Columns, Files, Inputs, LogFile
from sli.logs.log import Log, feedback_log, predictions_log

NESTED = ("list", "large_list", "fixed_size_list", "struct", "map")
TEXT, ANY = "text", "null"
CHECKS = ("wrong type", "wrong id type")
"""The problems of files that are set aside because of other files."""


def set_aside_disagreeing(config: Config, inputs: Inputs) -> Inputs:
    """The same inputs, with the files set aside whose types disagree with most others."""
    log, feedback = predictions_log(config), feedback_log(config)
    sliced = {log.field(name) for columns in config.slice_sets for name in columns}
    predictions = _with_same_columns(inputs.predictions, [log.field(name) for name in log.columns], sliced)
    inputs = Inputs(predictions, inputs.feedback)
    for place in range(len(log.id)):
        inputs = _with_same_ids(inputs, place, log, feedback)
    return inputs


def with_usable_slices(config: Config, inputs: Inputs) -> Config:
    """The config without the slices by columns of lists or structs. Raises ConfigError if no slice is left."""
    types = nested_types(config, inputs)
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


def nested_types(config: Config, inputs: Inputs) -> dict[str, str]:
    """The types of the slice columns that are lists or structs in a usable file, by name."""
    files, log = inputs.predictions, predictions_log(config)
    sliced = sorted({name for columns in config.slice_sets for name in columns})
    nested = {}
    for place in np.unique(files.kinds.of_file[files.usable]):
        types = {field: type_of(kind) for field, kind in files.kinds.all[place] if type_family(kind).startswith(NESTED)}
        nested.update({name: types[log.field(name)] for name in sliced if log.field(name) in types})
    return nested


def type_family(stored: str) -> str:
    """The name of a group of types that one column may have, for example `number`; a nested type is a group alone."""
    kind = type_of(stored)
    if kind.startswith(NESTED) or kind == "null":
        return kind
    if kind.startswith(("string", "large_string", "hive", "dictionary")):
        return TEXT
    family = next((name for name in ("timestamp", "date", "time", "binary") if name in kind), "number")
    return "timestamp" if family == "date" else family


def _with_same_columns(files: Files, fields: Sequence[str], sliced: Collection[str]) -> Files:
    for name in fields:
        families = [type_family(dict(columns).get(name, "")) for columns in files.kinds.all]
        if len({*families} - {TEXT, ANY}) + (TEXT in families) < 2:
            continue  # almost always
        counts = Counter(families[kind] for kind in files.kinds.of_file[files.usable])
        usual = _usual_families(counts, name in sliced)
        expected = " or ".join(sorted(usual - {ANY}))

        def explain(file: LogFile, name: str = name, expected: str = expected) -> str:
            return f"column '{name}' is {type_of(file.types[name])}, expected {expected} as in the other files"

        files = _set_aside(files, [family not in usual for family in families], CHECKS[0], explain)
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


def _with_same_ids(inputs: Inputs, place: int, log: Log, feedback: Log) -> Inputs:
    """The same inputs, with the files set aside whose ids are of another kind than in most files of predictions.

    `place`: which part of the ids. A part that the config compares as text may have any kind.
    """
    predictions, part = inputs.predictions, log.id[place]
    kinds = [_id_kind(columns, part.field) for columns in predictions.kinds.all]
    counts = Counter(kinds[kind] for kind in predictions.kinds.of_file[predictions.usable])
    if not counts or part.as_text:
        return inputs
    # Where both kinds have as many files, the kind of the first file wins.
    usual = max(counts, key=lambda kind: counts[kind])
    of_usual = predictions.usable & np.array([kind == usual for kind in kinds], bool)[predictions.kinds.of_file]
    first = next(iter(predictions.take(np.flatnonzero(of_usual)[:1])))

    def check(files: Files, logs: Log) -> Files:
        def explain(file: LogFile) -> str:
            theirs, column = type_of(first.types[part.field]), logs.of(file.log).id[place].field
            return f"ids ('{column}') are {type_of(file.types[column])}, but {theirs} in {first.path}"

        for one in logs.parts:
            if not one.id[place].as_text:
                unusual = [_id_kind(columns, one.id[place].field) != usual for columns in files.kinds.all]
                files = _set_aside(files, unusual, CHECKS[1], explain, one.name)
        return files

    return Inputs(check(predictions, log), check(inputs.feedback, feedback))


def _id_kind(columns: Columns, field: str) -> str:
    kind = type_of(dict(columns).get(field, ""))
    return "integer" if "int" in kind and "dictionary" not in kind else "text"


def _set_aside(
    files: Files, unusual: list[bool], check: str, explain: Callable[[LogFile], str], log: str = ""
) -> Files:
    """The same files, with the usable ones of the unusual kinds set aside; with `log` only those of this log."""
    wrong = np.flatnonzero(files.usable & np.array(unusual, bool)[files.kinds.of_file])
    if not len(wrong):
        return files
    named = [(at, file) for at, file in zip(wrong, files.take(wrong), strict=True) if log in ("", file.log)]
    places = np.array([at for at, _ in named], np.int64)
    return files.replace_at(places, [file.set_aside(check, explain(file)) for _, file in named])
