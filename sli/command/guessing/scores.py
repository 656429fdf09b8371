"""The probability of each class: fields named after the classes, or one field with a list of them.

Limit: the order of a list is told by which place is the largest for which predicted class.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sli.command.guessing.classes import plain
from sli.command.guessing.fields import Field
from sli.command.guessing.sample import Sample

AGREE = 0.95
"""In this share of rows the largest score must be that of the predicted class."""


@dataclass(frozen=True)
class Scores:
    """The scores of classes, as the config says them."""

    setting: object
    """A field for each class, or one field with a list."""
    sure: bool
    """Whether the largest score nearly always is that of the predicted class."""
    classes: tuple[str, ...]
    """The classes in the order of the scores."""


def choose_scores(sample: Sample, output: Field, classes: Sequence[str]) -> Scores | None:
    """The scores of all classes, if exactly one pattern of names gives each class its own field, or a list does."""
    shares = [f for f in sample.fields.values() if f.is_floating and not f.hive and f.is_share and f is not output]
    ways = _ways(shares, classes)
    if len(ways) == 1:
        [columns] = ways
        sure = _agrees([column.python for column in columns], output, classes)
        names = {name: column.score for name, column in zip(classes, columns, strict=True)}
        return Scores(names, sure, tuple(classes))
    lists = [scores for f in sample.fields.values() if f.is_list and (scores := _of_list(f, output, classes))]
    return lists[0] if lists else None


def _ways(shares: Sequence[Field], classes: Sequence[str]) -> list[list[Field]]:
    """For each pattern by which every class has exactly one field: these fields."""
    patterns: dict[str, dict[str, list[Field]]] = {}
    for name in classes:
        word = re.sub(r"\W+", "_", plain(name).replace(" ", "_"))
        for field in shares:
            for match in re.finditer(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", field.name.lower()):
                pattern = f"{field.name[: match.start()].lower()}{{}}{field.name[match.end() :].lower()}"
                patterns.setdefault(pattern, {}).setdefault(name, []).append(field)
    ways = []
    for found in patterns.values():
        columns = [fields[0] for name in classes if len(fields := found.get(name, [])) == 1]
        if len(columns) == len(classes) and len({column.name for column in columns}) == len(classes):
            ways.append(columns)
    return ways if len(classes) else []


def _agrees(columns: Sequence[Sequence[float | None]], output: Field, classes: Sequence[str]) -> bool:
    rows = [(row, text) for *row, text in zip(*columns, output.texts, strict=True) if text and None not in row]
    keys = [plain(name) for name in classes]
    hits = sum(keys[max(range(len(row)), key=row.__getitem__)] == plain(text) for row, text in rows)
    return bool(rows) and hits >= AGREE * len(rows)


def _of_list(field: Field, output: Field, classes: Sequence[str]) -> Scores | None:
    """A list with one number from 0 to 1 for each class; the order is that of the largest ones if it tells it."""
    pairs = [(row, text) for row, text in zip(field.python, output.texts, strict=True) if row and text]
    if not pairs or any(
        len(row) != len(classes) or not all(n is not None and 0 <= n <= 1 for n in row) for row, _ in pairs
    ):
        return None
    seen: dict[int, Counter[str]] = {}
    for row, text in pairs:
        seen.setdefault(max(range(len(row)), key=row.__getitem__), Counter())[plain(text)] += 1
    names = {plain(name): name for name in classes}
    order = [names.get(seen[at].most_common(1)[0][0], "") for at in sorted(seen)]
    hits = sum(counts.most_common(1)[0][1] for counts in seen.values())
    sure = sorted(order) == sorted(classes) and hits >= AGREE * len(pairs)
    return Scores(field.score, sure, tuple(order) if sure else tuple(classes))
