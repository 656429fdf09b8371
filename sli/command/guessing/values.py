"""What is the prediction and what the label, and the task that follows from their values.

Limit: of a prediction that is always right and a copy of the label, only the names can tell which is which.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from sli.command.guessing.choose import Guess, Names, best, words
from sli.command.guessing.classes import Labels, labels_of, of_booleans, plain, shown, speaks, spelled
from sli.command.guessing.fields import Field
from sli.command.guessing.ids import Ids
from sli.command.guessing.sample import Sample
from sli.errors import InputError

FEW = 20
"""Whole numbers with at most this many values may be classes."""
MANY = 100
"""A text with more values than this does not hold classes."""
NUMBER = re.compile(r"[+-]?\d*\.?\d+([eE][+-]?\d+)?")
DECISION = re.compile("decision|action|verdict|recommend|pred|decided")
"""How fields are named that hold decisions in words."""
SECOND = "[2]"
SPELLINGS = 5
"""At most so many spellings of each class are looked at."""
EXPECTED = "a number or boolean column, or a column of classes (text or integers) in both logs"
BY_HAND = "`value: FIELD` with `labels: {positive: [...], negative: [...]}` for words"
OUTPUT = Names(
    "value",
    words(
        "score probability proba prob y_score y_prob y_pred_proba y_proba predicted_probability risk_score risk "
        "prediction predicted y_pred y_hat yhat pred forecast estimate output value p predicted_class predicted_label "
        "class label"
    ),
    "score|pred|prob|class|forecast|estimat|output",
    "the model's output",
    EXPECTED,
    BY_HAND,
)
LABEL = Names(
    "value",
    words("label target actual y_true truth ground_truth outcome feedback y observed value true_class class"),
    "label|target|actual|true|truth|outcome|class|verdict",
    "the true value",
    EXPECTED,
    BY_HAND,
)


@dataclass(frozen=True)
class Values:
    """The prediction, the label, and what their values mean."""

    output: Field
    label: Field
    checks: tuple[str, str]
    task: Guess
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Other spellings of each class, by its name."""
    labels: tuple[Labels | None, Labels | None] = (None, None)
    """Which values are positive, in the predictions and in the feedback."""


@dataclass(frozen=True)
class Logs:
    """Both samples, the fields that already have another use, and the ids by which rows are compared."""

    predictions: Sample
    feedback: Sample
    taken: tuple[Collection[str], Collection[str]]
    ids: Ids | None

    def possible(self, at: int) -> list[Field]:
        sample = (self.predictions, self.feedback)[at]
        return [f for name, f in sample.fields.items() if name not in self.taken[at] and not f.hive and not f.is_list]

    def copies(self, output: Field, label: Field) -> bool:
        """Whether a field of the predictions equals the label for every id, for example if both logs are one table."""
        if self.ids is None:
            return False
        labels = zip(self.ids.keys(1), label.python, strict=True)
        known = {id: value for id, value in labels if value is not None and id is not None}
        rows = zip(self.ids.keys(0), output.python, strict=True)
        pairs = [(value, known[id]) for id, value in rows if value is not None and id in known]
        return bool(pairs) and all(value == other for value, other in pairs)


def choose_values(logs: Logs) -> Values:
    """The prediction, the label and the task. Raises InputError."""
    label, check, outputs = _label(logs)
    shares = [each for each in logs.possible(0) if each.is_floating and each.is_share]
    named = [each for each in shares if re.search("score|prob|risk|confidence", each.leaf)]
    if label.is_text and outputs and len(_classes(label)) == 2 and speaks(label.distinct):
        if named and not all(logs.copies(each, label) for each in named):
            outputs = []
        else:
            return _decisions(logs, label, check, outputs)
    if outputs and not _is_zero_or_one(label):
        return _multiclass(logs, label, check, outputs)
    numbers = [each for each in logs.possible(0) if each.is_number] or _hidden_numbers(logs)
    is_binary = _is_zero_or_one(label) or (label.is_text and len(_classes(label)) == 2)
    scored = [*named, *(each for each in shares if each.leaf in OUTPUT.known)]
    if is_binary and not scored and (decided := _decided(logs, bool(numbers))):
        return _decisions(logs, label, check, decided)
    if label.is_text or _is_two_numbers(label, named):
        output, output_check = _output(logs, sorted(numbers, key=_unlikely_share), label)
        counts = dict(label.counts)
        labels = of_booleans(output), labels_of(counts)
        return Values(output, label, (output_check, check), _task(output, label), labels=labels)
    key = _unlikely_share if _is_zero_or_one(label) or label.is_boolean else lambda each: not each.is_floating
    output, output_check = _output(logs, sorted(numbers, key=key), label)
    task = _task(output, label)
    both = (of_booleans(output), of_booleans(label)) if task.value == "binary" else (None, None)
    return Values(output, label, (output_check, check), task, labels=both)


def _hidden_numbers(logs: Logs) -> list[Field]:
    """Numbers that are texts, and the second ones of lists of two: for predictions without any other number."""
    numbers = []
    for each in logs.predictions.fields.values():
        if each.name in logs.taken[0] or each.hive:
            continue
        if each.is_list and all(row is None or len(row) == 2 for row in each.python):
            second = pa.array([row and row[1] for row in each.python], pa.float64())
            whole = f"TRY_CAST({each.sql} AS DOUBLE[])" if each.json else each.sql
            sql = f"{whole}{SECOND}" if each.expression else ""
            numbers.append(replace(each, name=f"{each.name}{SECOND}", values=second, expression=sql))
        elif each.is_text and len(each.known) and all(NUMBER.fullmatch(text) for text in each.counts):
            cast = f"TRY_CAST({each.sql} AS DOUBLE)"
            numbers.append(replace(each, values=each.values.cast(pa.float64()), expression=cast))
    return numbers


def _decided(logs: Logs, has_numbers: bool) -> list[Field]:
    """Texts of two values that may be decisions in other words than the labels, by their name and by their words.

    One of the two is enough if the predictions have no number.
    """
    texts = [f for f in logs.possible(0) if f.is_text and len(_classes(f)) == 2]
    needed = 2 if has_numbers else 1
    return [f for f in texts if bool(DECISION.search(f.leaf)) + speaks(f.distinct) >= needed]


def _unlikely_share(field: Field) -> bool:
    return not (field.is_floating and field.is_share)


def _label(logs: Logs) -> tuple[Field, str, list[Field]]:
    """The label, what to check of it, and the fields of the predictions that hold the same classes."""
    agreeing = {}
    for label in logs.possible(1):
        outputs = [output for output in logs.possible(0) if _agree(output, label)]
        agreeing[label.name] = [f for f in outputs if f.name != label.name or not logs.copies(f, label)]
    numbers = sorted((f for f in logs.possible(1) if f.is_number), key=lambda f: not _is_zero_or_one(f))
    texts = [f for f in logs.possible(1) if f.is_text]
    speaking = [f for f in texts if speaks(f.distinct)]
    candidates = [*(f for f in numbers if _is_zero_or_one(f)), *speaking]
    candidates += [f for f in [*numbers, *(f for f in texts if agreeing[f.name])] if f not in candidates]
    if logs.predictions.paths != logs.feedback.paths:
        candidates = [f for f in candidates if not _is_feature(logs, f)] or candidates
    if not candidates:
        candidates = [
            f for f in texts if len(_classes(f)) == 2 and f.name not in {other.name for other in logs.possible(0)}
        ]
    label, check = best(logs.feedback, candidates, LABEL)
    return label, check, agreeing[label.name]


def _is_feature(logs: Logs, label: Field) -> bool:
    """Whether a field of the feedback only repeats one of the predictions."""
    same = [f for f in logs.possible(0) if f.name == label.name]
    return bool(same) and label.leaf not in LABEL.known and logs.copies(same[0], label)


def _is_zero_or_one(field: Field) -> bool:
    """Whether a field is a boolean, or a number that is 0 or 1 in all rows."""
    return field.is_boolean or (
        field.is_number and len(field.known) > 0 and {float(v) for v in field.counts} <= {0.0, 1.0}
    )


def _is_two_numbers(label: Field, scores: Sequence[Field]) -> bool:
    """Whether a label is one of two whole numbers, for example -1 and 1, and there is a score for it."""
    whole = label.is_whole and len(label.counts) == 2 and not _is_zero_or_one(label)
    return whole and bool(scores) and max(label.counts) <= 2


def _classes(field: Field) -> set[str]:
    """The values of a field as plain texts, if they may be classes; else none."""
    most = MANY if field.is_text else FEW if field.is_whole else 0
    if len(field.distinct) > SPELLINGS * most:
        return set()
    values = {plain(text) for text in field.distinct}
    return values if len(values) <= most else set()


def _agree(output: Field, label: Field) -> bool:
    """Whether two fields hold the same classes. Numbers must be named like a prediction and not be 0 and 1 only."""
    classes, known = _classes(output), _classes(label)
    common, seen = classes & known, classes | known
    if not common or 2 * len(common) < min(len(classes), len(known)) or len(seen) < 2 or len(seen) > MANY:
        return False
    if output.is_text and label.is_text:
        return True
    named = output.leaf in OUTPUT.known or "pred" in output.leaf
    return named and 2 < len(seen) <= FEW and not known <= {"0", "1"}


def _output(logs: Logs, candidates: Sequence[Field], label: Field) -> tuple[Field, str]:
    """The best field that is not a copy of the label; the copies are named. Raises InputError.

    If there are only copies, one with another name than the label may be a prediction that is always right.
    """
    copies = [f.name for f in logs.possible(0) if (f.is_number or f.is_text) and logs.copies(f, label)]
    other = [f for f in candidates if f.name not in copies] or [f for f in candidates if f.name != label.name]
    note = f"not {' or '.join(sorted(copies))}, equal to the label {label.name} of the feedback for every id"
    try:
        output, check = best(logs.predictions, other, OUTPUT)
    except InputError as error:
        error.found += f"; {note}" * bool(copies)
        if logs.predictions.paths == logs.feedback.paths:
            error.todo += "; if the labels are in another log, give it by --feedback"
        raise
    if output.name.endswith(SECOND):
        check = f"{OUTPUT.meaning} for the positive class, if that is the second of each list"
    if not copies:
        return output, check
    if output.name in copies:
        note = f"equal to the label {label.name} of the feedback for every id: is it the prediction?"
    return output, f"{check}; {note}" if check else note


def _task(output: Field, label: Field) -> Guess:
    """Binary where labels are booleans, texts, or only 0 and 1; else a regression."""
    doubt = "" if output.is_share else f"but {output.name} is not always in 0..1"
    if label.is_boolean:
        return Guess("binary", doubt and f"{label.name} is a boolean, {doubt}")
    if label.is_text:
        return Guess("binary", doubt and f"{label.name} has two values, {doubt}")
    if _is_zero_or_one(label):
        return Guess("binary", doubt and f"{label.name} is 0 or 1, {doubt}")
    if not len(label.known):
        return Guess("regression" if doubt else "binary", f"no value of {label.name} was seen")
    if label.is_whole and len(label.counts) == 2 and output.is_share:
        return Guess("binary")
    few = label.is_whole and len(label.counts) <= FEW
    values = f"{label.name} has only {len(label.counts)} values"
    doubt = f"{values}; if they are classes, {output.name} must be the predicted one"
    return Guess("regression", doubt if few else "")


def _decisions(logs: Logs, label: Field, check: str, outputs: Sequence[Field]) -> Values:
    """A binary task whose predictions are decisions in words."""
    output, output_check = _output(logs, outputs, label)
    given = labels_of(dict(output.counts))
    known = labels_of(dict(label.counts)) if label.is_text else of_booleans(label)
    if not _classes(output) & _classes(label):
        meant = shown(known.positive) if known else f"{label.name} true or 1"
        given = replace(given, check=f"does {shown(given.positive)} predict {meant}? If not, swap the two")
    return Values(output, label, (output_check, check), Guess("binary"), labels=(given, known))


def _multiclass(logs: Logs, label: Field, check: str, outputs: Sequence[Field]) -> Values:
    output, output_check = _output(logs, outputs, label)
    amounts = not label.is_text and not output.is_text
    doubt = f"{label.name} and {output.name} are few whole numbers; if they are amounts, this is a regression"
    task = Guess("multiclass", doubt if amounts else "")
    return Values(output, label, (output_check, check), task, _named_classes(output, label))


def _named_classes(output: Field, label: Field) -> dict[str, list[str]]:
    """The classes by the spelling that the predictions use, with the other spellings of each, in order."""
    given, known = ({str(value): count for value, count in f.counts.items()} for f in (output, label))
    first = spelled(given)
    both = spelled({text: given.get(text, 0) + known.get(text, 0) for text in {**given, **known}})
    names = {key: first.get(key, texts)[0] for key, texts in both.items()}
    whole = all(re.fullmatch(r"-?\d+", name) for name in names.values())
    order = (
        sorted(both, key=lambda key: int(names[key]) if whole else 0) if whole else sorted(both, key=names.__getitem__)
    )
    return {names[key]: sorted(text for text in both[key] if text != names[key]) for key in order}
