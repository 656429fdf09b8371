"""The id that joins both logs: one field, one with the model that divides it, or several; as text if types differ.

Limit: ids of different names are told by their names, and by values that both samples have.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sli.command.guessing.choose import Guess, Names, Problems, no_candidate
from sli.command.guessing.fields import Field
from sli.command.guessing.sample import Sample

IDS = ("output_id", "prediction_id", "inference_id", "request_id", "uuid", "id", "event_id", "key")
MODEL = re.compile(
    r"model|variant|version|candidate|challenger|deploy|algorithm|scorer|detector|(^|_)(head|arm|task)(_|$)"
)
"""How fields are named that say which model made a prediction."""
FEW = 20
LONG = 200
"""Texts longer than this are no ids."""
MOST = 3
"""The most fields that together are an id, apart from a model."""
TRIED = 8
"""How many fields are tried together."""
VALUE = re.compile(r"label|target|actual|truth|outcome|class|score|prob|pred|decision|(^|_)y(_|$)")
"""How fields are named that are no part of an id."""
NAMES = Names(
    "id",
    IDS,
    "id$|key$",
    "the id that joins both logs",
    f"a text or integer column named like an id or without repeats, or up to {MOST} that together divide the rows",
    "`id: [FIELD, FIELD]` for several columns, or `id: (FIELD::BIGINT)` for whole numbers of another type",
)


@dataclass(frozen=True)
class Ids:
    """The fields that are the id, in each log."""

    predictions: tuple[Field, ...]
    feedback: tuple[Field, ...]
    checks: tuple[str, str]
    divider: str = ""
    """A field of the predictions that divides repeated ids, if the feedback does not have it."""

    def guess(self, log: str) -> Guess:
        """The value of `id` in the config."""
        at = 0 if log == "predictions" else 1
        parts = [self._part(pair, at) for pair in zip(self.predictions, self.feedback, strict=True)]
        return Guess(parts[0] if len(parts) == 1 else parts, self.checks[at])

    def keys(self, at: int) -> list[str | None]:
        """The id of each row as one text, null if a part is."""
        parts = zip(*(field.texts for field in (self.predictions, self.feedback)[at]), strict=True)
        return [None if None in row else "\0".join(map(str, row)) for row in parts]

    def _part(self, pair: tuple[Field, Field], at: int) -> object:
        """A part of the id; compared as text if the types differ, or if pandas made floats of integers with nulls."""
        mixed = any(field.mixed or field.is_floating for field in pair) or pair[0].is_text != pair[1].is_text
        setting = f"({pair[at].sql}::BIGINT)" if pair[at].is_decimal else pair[at].text
        return {"column": setting, "type": "text"} if mixed else setting


def id_rank(field: Field) -> int:
    """Known names first, in their order; then names that end like an id; then the others."""
    own = field.name.rsplit(".", 1)[-1]
    sounds = re.search(r"(^|_)(id|uuid|guid|key|ref)$", field.leaf) or re.search(r"[a-z]I[dD]$", own)
    return IDS.index(field.leaf) if field.leaf in IDS else len(IDS) + (0 if sounds else 1)


def choose_ids(predictions: Sample, feedback: Sample, times: Sequence[Collection[str]], one_table: bool) -> Ids:
    """The field that joins both logs; `times` are the names of each log's times. Raises InputError."""
    possible = [
        {name: field for name, field in sample.fields.items() if name not in names and _can_be_id(field)}
        for sample, names in zip((predictions, feedback), times, strict=True)
    ]
    common = sorted((field for name, field in possible[0].items() if name in possible[1]), key=id_rank)
    unique = [
        field for field in common if is_unique(field, 0.4 if one_table else 0.5) or divider_of(predictions, field)
    ]
    # A number without duplicates may be anything; a text without duplicates is almost always an id.
    either_text = {f.name for f in common if f.is_text or possible[1][f.name].is_text}
    candidates = [field for field in unique if id_rank(field) <= len(IDS) or field.name in either_text]
    candidates += [field for field in common if field.leaf in IDS]
    if candidates:
        chosen = candidates[0]
        sure = chosen.leaf in IDS and chosen in unique
        check = "" if sure else NAMES.meaning
        return Ids((chosen,), (possible[1][chosen.name],), (check, check))
    if joined := _by_values(possible[0].values(), possible[1].values()):
        names = f"`{joined[0].name}` of the predictions and `{joined[1].name}` of the feedback"
        check = f"{names} have values in common"
        return Ids((joined[0],), (joined[1],), (check, check))
    if together := _together(common, possible[1]):
        return together
    problems = Problems()
    sides = zip((predictions, feedback), possible, strict=True)
    lone = [problems.collect(_lone_id, sample, fields.values()) for sample, fields in sides]
    problems.tell()
    id, other = (each for each in lone if each is not None)
    check = NAMES.meaning if id.name == other.name else "the logs have no id of the same name: do these join?"
    return Ids((id,), (other,), (check, check))


def is_unique(field: Field, share: float = 0.5) -> bool:
    """Whether most values occur once: a corrected label repeats its id."""
    return len(field.known) == 0 or len(field.distinct) > share * len(field.known)


def _can_be_id(field: Field) -> bool:
    if field.hive or not len(field.known):
        return not field.hive and (field.is_text or field.is_whole)
    if field.is_floating or field.is_decimal:
        whole = all(value % 1 == 0 and abs(value) < 2**63 for value in field.counts)
        return whole and id_rank(field) <= len(IDS)
    return field.is_whole or (field.is_text and max(map(len, field.counts)) <= LONG)


def _by_values(predictions: Collection[Field], feedback: Collection[Field]) -> tuple[Field, Field] | None:
    """Two fields of different names with many values in common, none of which repeats often."""
    pairs = []
    for one in (field for field in predictions if is_unique(field) and len(field.known)):
        for other in (field for field in feedback if is_unique(field) and len(field.known)):
            shared = len(one.distinct & other.distinct) / min(len(one.distinct), len(other.distinct))
            small = one.is_whole and id_rank(one) > len(IDS)
            if shared >= 0.5 and not small:
                pairs.append((shared, -id_rank(one) - id_rank(other), one.name, other.name))
    if not pairs:
        return None
    _, _, name, other_name = max(pairs)
    [one], [other] = ([f for f in fields if f.name == n] for fields, n in ((predictions, name), (feedback, other_name)))
    return one, other


def _together(common: Sequence[Field], feedback: Mapping[str, Field]) -> Ids | None:
    """The fewest fields of both logs that together divide the rows and join them; None if there are none."""
    parts = [f for f in common if len(f.distinct) > 1 and not f.is_floating and not VALUE.search(f.leaf)][:TRIED]
    for size in range(2, MOST + 1):
        for fields in itertools.combinations(parts, size):
            others = tuple(feedback[field.name] for field in fields)
            check = f"{NAMES.meaning}? Only {', '.join(field.name for field in fields)} together divide the rows"
            ids = Ids(fields, others, (check, check))
            keys, known = ids.keys(0), ids.keys(1)
            made, joined = set(keys), set(keys) & set(known)
            if len(made) > 0.98 * len(keys) and 2 * len(joined) >= min(len(made), len(set(known))):
                return ids
    return None


def _lone_id(sample: Sample, possible: Collection[Field]) -> Field:
    fields = [field for field in possible if id_rank(field) <= len(IDS) or is_unique(field)]
    if not fields:
        raise no_candidate(sample, NAMES)
    return min(fields, key=id_rank)


def divider_of(sample: Sample, id: Field) -> Field | None:
    """The field that says which model a row is of, if ids repeat and do not within one model."""
    rows = len(id.known)
    repeated = rows - len(id.distinct)
    if repeated <= 0.02 * rows:
        return None
    for field in sample.fields.values():
        few = (field.is_text or field.is_whole) and 2 <= len(field.distinct) <= FEW
        if field is id or not few or not MODEL.search(field.leaf):
            continue
        pairs = {pair for pair in zip(id.texts, field.texts, strict=True) if pair[0] is not None}
        if rows - len(pairs) <= repeated / 10:
            return field
    return None


def joining(ids: Ids) -> Ids:
    """The same ids, to be checked if no id of the feedback is one of the predictions, in the rows looked at."""
    made, known = (set(ids.keys(at)) - {None} for at in range(2))
    if not made or not known or made & known:
        return ids
    check = f"none of the {len(known):,} ids that were looked at is among the {len(made):,} of the predictions"
    return replace(ids, checks=(ids.checks[0], "; ".join(filter(None, [ids.checks[1], check]))))


def divided(ids: Ids, predictions: Sample, feedback: Sample) -> Ids:
    """The same ids together with the model where ids repeat and do not within one model."""
    if len(ids.predictions) > 1:
        return ids
    [id], [other_id] = ids.predictions, ids.feedback
    model = divider_of(predictions, id)
    if model is None:
        return ids
    others = [field for field in feedback.fields.values() if field.name == model.name]
    others += [field for field in feedback.fields.values() if field.is_text and field.distinct & model.distinct]
    if others:
        return Ids((id, model), (other_id, others[0]), ids.checks)
    check = f"ids repeat, once for each {model.name}, which the feedback lacks: choose one by `where`"
    return Ids((id,), (other_id,), (check, ids.checks[1]), divider=model.name)
