"""A guess and what to check of it, and the best of several fields by how they are named."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from sli.command.guessing.fields import Field
from sli.command.guessing.sample import Sample
from sli.errors import InputError, SliError

LONG = 40
"""Longer examples of texts are cut."""
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Guess:
    """The value of a key, as YAML has it, and what to check where it is doubtful."""

    value: object
    check: str = ""


@dataclass(frozen=True)
class Names:
    """How the fields for a key of a log are named, and what it means."""

    key: str
    known: Sequence[str]
    """Names in their order."""
    stem: str
    """What other names contain."""
    meaning: str
    expected: str
    by_hand: str
    """What a config written by hand may say besides the name of a field."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


def names_rank(field: Field, names: Names) -> int:
    """The place of a field among the known names; then names that sound right; then the others."""
    name = field.name.lower()
    for known in (name, field.leaf):
        if known in names.known:
            return names.known.index(known)
    return len(names.known) + (0 if re.search(names.stem, field.leaf) else 1)


def best(sample: Sample, candidates: Sequence[Field], names: Names) -> tuple[Field, str]:
    """A known name or the only candidate, without doubt; else a name that sounds right or the first, to check.

    Raises InputError if there are no candidates.
    """
    if not candidates:
        raise no_candidate(sample, names)
    chosen = min(candidates, key=lambda field: names_rank(field, names))
    others = [field.name for field in candidates if field is not chosen]
    if names_rank(chosen, names) < len(names.known) or not others:
        return chosen, ""
    more = ", ..." if len(others) > 5 else ""
    return chosen, f"{names.meaning}; it could also be {', '.join(others[:5])}{more}"


def no_candidate(sample: Sample, names: Names) -> InputError:
    """The error if no field can be what a key needs."""
    named = f"`{sample.log}: {{{names.key}: FIELD}}`"
    return InputError(
        f"no column of the {sample.log} log can be its {names.key}",
        where=sample.file,
        expected=names.expected,
        found=", ".join(f"{name} ({_kind(sample, name, names.key)})" for name in sample.types) or "no columns",
        todo=f"log one, or write the config by hand with {named}, or {names.by_hand}; see docs/logs.md",
    )


def _kind(sample: Sample, name: str, key: str) -> str:
    """The type of a column, with an example of texts, as their form may be why they are no time or value."""
    field, kind = sample.fields.get(name), sample.types[name]
    if key == "id" or field is None or not field.is_text or not len(field.known):
        return kind
    return f"{kind}, for example {str(next(iter(field.counts)))[:LONG]!r}"


class Problems:
    """The errors of several guesses, so that all are told at once."""

    def __init__(self) -> None:
        self.errors: list[SliError] = []

    def collect(self, guess: Callable[P, T], *given: P.args, **named: P.kwargs) -> T | None:
        """What a guess returns, or None if it raises an error for the user, which is kept."""
        try:
            return guess(*given, **named)
        except SliError as error:
            self.errors.append(error)
            return None

    def tell(self) -> None:
        """Raise the first error, which names the others too, if there is one."""
        if self.errors:
            first, *others = self.errors
            first.others = "\n".join(filter(None, [first.others, *map(str, others)]))
            raise first
