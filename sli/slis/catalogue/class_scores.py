"""The score of each class of a multiclass task: which pairs have all of them, in SQL and on plain rows.

Limit: a score is a probability; a pair with one that is null or outside 0..1 counts for nothing that needs scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sli.engine.sql import literal, quoted
from sli.errors import ConfigError
from sli.slis.formula import OnRows
from sli.slis.states import Floats, Integers

if TYPE_CHECKING:
    import pandas as pd

NO_SCORES = "no labelled predictions with all scores"
Classes = Sequence[str]


@dataclass(frozen=True)
class Scored:
    """Each class's score: as SQL, and on rows."""

    names: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def all(self) -> str:
        """SQL list of the scores."""
        return f"[{', '.join(f'{quoted(each)}::DOUBLE' for each in self.columns)}]"

    @property
    def at(self) -> str:
        """SQL of the label's place among the classes."""
        return f"list_position([{', '.join(map(literal, self.names))}], label)"

    @property
    def known(self) -> str:
        """SQL condition that every score is there."""
        return " AND ".join(f"coalesce({quoted(each)}::DOUBLE BETWEEN 0 AND 1, false)" for each in self.columns)

    @property
    def counts(self) -> str:
        """SQL condition that the pair counts."""
        return f"usable AND {self.at} IS NOT NULL AND {self.known}"

    def kept(self, pairs: pd.DataFrame) -> tuple[Floats, Integers]:
        """The scores and the labels' places of the pairs that count."""
        import pandas as pd

        scores = pairs[list(self.columns)].astype(float).to_numpy()
        at = pd.Index(self.names).get_indexer(pd.Index(pairs.label.to_numpy(dtype=object)))
        kept = pairs.usable.to_numpy(dtype=bool) & (at >= 0) & ((scores >= 0) & (scores <= 1)).all(axis=1)
        return scores[kept], at[kept]

    def on_rows(self, function: Callable[[Floats, Integers], Floats]) -> OnRows:
        """Mean of a function of the scores and the labels' places over the pairs that count."""

        def on_rows(pairs: pd.DataFrame) -> float:
            scores, at = self.kept(pairs)
            return float(np.mean(function(scores, at))) if len(at) else float("nan")

        return on_rows


def scores_of(name: str, classes: Classes, scores: Mapping[str, str] | None) -> Scored:
    missing = [each for each in classes if each not in (scores or {})]
    if missing:
        raise ConfigError(
            f"{name} needs a score for every class",
            where="predictions.scores",
            found=f"none for {', '.join(missing)}",
            todo="name the column of each class's probability, as in `scores: {cat: p_cat, dog: p_dog}`",
        )
    # Sorted, since scikit-learn breaks ties of scores by the classes' order, which is that of their names.
    names = tuple(sorted(classes))
    return Scored(names, tuple((scores or {})[each] for each in names))
