"""Texts that mean classes: several spellings of one class, and which of two labels is the positive one.

Limit: of labels whose words are not known, the rarer one is taken as positive, and the config asks.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sli.command.guessing.choose import words
from sli.command.guessing.fields import Field

POSITIVE = frozenset(
    words(
        "yes y true t 1 positive pos fraud fraudulent late delayed churn churned default defaulted spam phishing "
        "malicious click clicked bad chargeback converted conversion purchased bought won malignant anomaly anomalous "
        "abnormal attack sick died dead cancelled canceled returned high_risk confirmed hit success toxic abusive "
        "failure failed on "
        "reject rejected decline declined deny denied block blocked flag flagged"
    )
)
NEGATIVE = frozenset(
    words(
        "no n false f 0 -1 negative neg ok okay legit legitimate genuine good ontime retained stayed active paid "
        "ham benign normal safe clean healthy alive kept low_risk lost none miss pass passed off repaid "
        "approve approved accept accepted allow allowed"
    )
)
NOT = re.compile(r"(not|non|no|un)[_ -]+(.+)")
WHOLE = re.compile(r"\s*(-?\d+)(?:[.]0*)?\s*")
"""A whole number, also one that was a float."""


def plain(text: str) -> str:
    """A class without what spellings differ in: capitals, blanks, `-` and `_`, and `.0` of a whole number.

    >>> plain(" Big-Dog "), plain("big_dog"), plain("-1.0")
    ('big dog', 'big dog', '-1')
    """
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else re.sub(r"[\s_-]+", " ", text.strip().casefold())


@dataclass(frozen=True)
class Labels:
    """Which values of a label are positive and which negative."""

    positive: tuple[object, ...]
    negative: tuple[object, ...]
    check: str

    @property
    def setting(self) -> Mapping[str, object]:
        return {"positive": list(self.positive), "negative": list(self.negative)}


def spelled(counts: Mapping[str, int]) -> dict[str, list[str]]:
    """The spellings of each class, by its plain text; the most common first.

    >>> spelled({"Cat": 3, "cat": 5, "DOG": 1})
    {'cat': ['cat', 'Cat'], 'dog': ['DOG']}
    """
    groups: dict[str, list[str]] = {}
    for text in sorted(counts, key=lambda text: (-counts[text], text)):
        groups.setdefault(plain(text), []).append(text)
    return groups


def is_positive(value: object) -> bool | None:
    """Whether a label's word means the positive class; None if it is not known.

    >>> is_positive("Yes"), is_positive("not fraud"), is_positive("cat")
    (True, False, None)
    """
    word = plain(str(value))
    joined = word.replace(" ", "_")
    if negated := NOT.fullmatch(word):
        return False if plain(negated[2]) in POSITIVE or is_positive(negated[2]) is None else None
    if joined in POSITIVE or word.replace(" ", "") in POSITIVE:
        return True
    return False if joined in NEGATIVE or word.replace(" ", "") in NEGATIVE else None


def speaks(values: Iterable[object]) -> bool:
    """Whether most of a few values are words that labels of a binary task have."""
    raw = list(itertools.islice(values, 100))
    texts = [plain(str(value)) for value in raw]
    known = [is_positive(text) for text in texts]
    return 2 <= len(set(texts)) <= 4 and True in known and (False in known or len(set(texts)) == 2)


def labels_of(counts: Mapping[object, int]) -> Labels:
    """Which values of a label are positive, from how often each occurs."""
    known = {value: is_positive(value) for value in counts}
    if len({plain(str(value)) for value in counts}) == 2 and None in known.values():
        return _of_two(counts, known)
    positive = _values(value for value, is_so in known.items() if is_so is True)
    negative = _values(value for value, is_so in known.items() if is_so is False)
    others = [str(value) for value, is_so in known.items() if is_so is None]
    left = f"; {', '.join(others)}: neither, so set aside" if others else ""
    return Labels(positive, negative, f"is {shown(positive)} positive?{left}")


def of_booleans(field: Field) -> Labels | None:
    """The labels of booleans within JSON, which are texts once they are read; None for other fields."""
    return Labels(("true",), ("false",), "") if field.json and field.is_boolean else None


def _of_two(counts: Mapping[object, int], known: Mapping[object, bool | None]) -> Labels:
    """Of two labels the other one of a known word; of two unknown numbers the larger, else the rarer is positive."""
    groups: dict[str, list[object]] = {}
    for value in counts:
        groups.setdefault(plain(str(value)), []).append(value)
    sides = sorted(groups.values(), key=lambda side: (sum(counts[value] for value in side), str(side)))
    said = {side: known_one for side in range(2) for value in sides[side] if (known_one := known[value]) is not None}
    numbers = [WHOLE.fullmatch(str(side[0])) for side in sides]
    at, why = 0, " It is the rarer one"
    if said:
        at, why = next(side if is_so else 1 - side for side, is_so in said.items()), ""
    elif numbers[0] and numbers[1]:
        at, why = int(int(numbers[1][1]) > int(numbers[0][1])), " It is the larger one"
    positive, negative = _values(sides[at]), _values(sides[1 - at])
    return Labels(positive, negative, f"is {shown(positive)} positive?{why}")


def _values(values: Iterable[object]) -> tuple[object, ...]:
    return tuple(sorted(values, key=str))


def shown(values: Sequence[object]) -> str:
    """Values in a sentence."""
    return ", ".join(map(str, values)) or "nothing"
