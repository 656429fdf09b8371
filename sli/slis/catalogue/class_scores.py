"""SLIs of the scores of a multiclass task, and the pairs that have a score for every class.

Limit: a score is a probability; SLIs of scores leave out a pair with a score that is null or outside 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sli.engine.sql import literal, quoted
from sli.errors import ConfigError
from sli.slis.catalogue.scores import EPS, WORST
from sli.slis.formula import (
    NO_LABELS,
    NOT_NEGATIVE,
    SHARE,
    Formula,
    Range,
    Values,
    count,
    entry,
    total,
)
from sli.slis.maths.confidence import mean_of, proportion
from sli.slis.states import Merged

NO_SCORES = "no labelled predictions with all scores"
Classes = Sequence[str]


@dataclass(frozen=True)
class Scored:
    """The classes by name, ascending, and the column of each class's score."""

    names: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def all(self) -> str:
        """SQL: the list of the scores."""
        return f"[{', '.join(f'{quoted(column)}::DOUBLE' for column in self.columns)}]"

    @property
    def at(self) -> str:
        """SQL: the place of the label among the classes, from 1; null if it is not a class."""
        return f"list_position([{', '.join(map(literal, self.names))}], label)"

    @property
    def known(self) -> str:
        """SQL condition: every score is from 0 to 1."""
        return " AND ".join(f"coalesce({quoted(column)}::DOUBLE BETWEEN 0 AND 1, false)" for column in self.columns)

    @property
    def counts(self) -> str:
        """SQL condition: the pair counts."""
        return f"usable AND {self.at} IS NOT NULL AND {self.known}"


def scores_of(name: str, classes: Classes, scores: Mapping[str, str] | None) -> Scored:
    """The score columns of the classes; `name` is the SLI that needs them. Raises ConfigError."""
    missing = [name for name in classes if name not in (scores or {})]
    if missing:
        raise ConfigError(
            f"{name} needs a score for every class",
            where="predictions.scores",
            found=f"none for {', '.join(missing)}",
            todo="name the column of each class's probability, for example `scores: {cat: p_cat, dog: p_dog}`",
        )
    # Sorted, because scikit-learn breaks ties of scores by the order of the classes' names.
    names = tuple(sorted(classes))
    return Scored(names, tuple((scores or {})[name] for name in names))


def _mean_loss(scored: Scored, sql: str, range: Range, known: Range) -> Formula:
    """Mean of a loss, given in SQL; `known` is the range that the interval may rely on."""

    def value(s: Merged) -> Values:
        return mean_of(s, s["loss"], s["squares"], s["scored"], NO_SCORES, known, (s["usable"] == 0, NO_LABELS))

    states = {
        "loss": total(sql, scored.counts),
        "squares": total(f"({sql}) * ({sql})", scored.counts),
        "scored": count(scored.counts),
        "usable": count("usable"),
    }
    return Formula(states, value, range=range)


@entry("log_loss", "multiclass", better="lower", version=2)
def log_loss(classes: Classes, scores: Mapping[str, str] | None = None) -> Formula:
    """Mean of -ln of the label's score (Good 1952, "Rational decisions"), clipped as in scikit-learn."""
    scored = scores_of("log_loss", classes, scores)
    share = f"least(greatest({scored.all}[{scored.at}], {EPS!r}::DOUBLE), 1.0::DOUBLE - {EPS!r}::DOUBLE)"
    return _mean_loss(
        scored,
        f"-ln({share})",
        (0.0, WORST),
        NOT_NEGATIVE,
    )


@entry("brier", "multiclass", better="lower", version=2)
def brier(classes: Classes, scores: Mapping[str, str] | None = None) -> Formula:
    """Mean of the sum over the classes of (score - (1 for the label, else 0))^2, the form of Brier (1950).

    It is from 0 to 2, unless the scores of a pair add up to more than 1.
    """
    scored = scores_of("brier", classes, scores)
    off = f"(x - (i = {scored.at})::INT)"
    return _mean_loss(
        scored,
        f"list_sum(list_transform({scored.all}, lambda x, i: {off} * {off}))",
        (0.0, float(len(classes))),
        (0.0, 2.0),
    )


@entry("top_k_accuracy", "multiclass", better="higher", version=2)
def top_k_accuracy(k: int, classes: Classes, scores: Mapping[str, str] | None = None) -> Formula:
    """Share of the labels among the k classes with the highest scores; of equal scores the last name wins."""
    scored = scores_of("top_k_accuracy", classes, scores)
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k < len(classes):
        raise ConfigError("k must be below the number of classes", expected=f"1 to {len(classes) - 1}", found=repr(k))
    own = f"{scored.all}[{scored.at}]"
    above = f"len(list_filter({scored.all}, lambda x, i: x > {own} OR (x = {own} AND i > {scored.at})))"

    def value(s: Merged) -> Values:
        hits, n, waiting = s["hits"], s["scored"], s["waiting"]
        worst, best = hits / (n + waiting), (hits + waiting) / (n + waiting)
        cases = (s["usable"] == 0, NO_LABELS), (n == 0, NO_SCORES)
        return proportion(s, hits, n, *cases).missing(worst, best)

    states = {
        "hits": count(f"{scored.counts} AND {above} < {k}"),
        "scored": count(scored.counts),
        "waiting": count(f"NOT labelled AND prediction IS NOT NULL AND {scored.known}"),
        "usable": count("usable"),
    }
    return Formula(states, value, range=SHARE)
