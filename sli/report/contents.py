"""What the page shows of a model, gathered from one publication: its standing, its series, its judgements, its changes.

Limit: of a store with more than `BYTES` of series, those of many windows of the smaller slices are left out; the page
says so where they would be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sli.calendar.grain import Grain
from sli.config.model import Config
from sli.errors import ConfigError
from sli.judging.explain import Explanation, explanations
from sli.judging.standing import Standing, standing, usable_slis
from sli.judging.windows import compared_windows
from sli.reading.publication import Publication, newest_or_none, pinned
from sli.report.changes import Changes, changes_of
from sli.report.choice import Slice, chosen_slices
from sli.report.history import History, history_of
from sli.report.outcomes import outcomes_of
from sli.report.rows import rows_by_day


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the page shows."""

    config: Config
    standing: Standing
    explanations: Mapping[str, Explanation]
    """By SLI, of those that the tiles can give."""
    slices: Sequence[Slice]
    """Those with history first."""
    grains: Sequence[Grain]
    history: History
    outcomes: dict[str, object] | ConfigError
    """When labels arrive and what the model predicts, or why there is no answer."""
    changes: Changes
    results: int
    """How many results are published."""


def gathered(config: Config, failure: str | None = None) -> Contents | None:
    """The contents of the page, or None before the first publication; `failure` is the error of the last run.

    All come from one publication, whatever runs publish meanwhile. Raises SliError.
    """
    publication = newest_or_none(config)
    if publication is None:
        return None
    with pinned(publication):
        return _of_one_publication(publication, failure)


def _of_one_publication(publication: Publication, failure: str | None) -> Contents:
    """The contents, of the publication that is pinned."""
    config, published = publication.config, publication.published
    now = standing(config, failure=failure)
    names = [one.sli for one in now.slis]
    slices = chosen_slices(publication, now.slis[0].now.start.to_pydatetime())
    grains = [grain for grain in config.all_grains if grain.name in published.grains]
    changes = changes_of(publication)
    return Contents(
        config=config,
        standing=now,
        explanations=explanations(publication, usable_slis(publication)[0], compared_windows(config, published), {}),
        slices=slices,
        grains=grains,
        history=history_of(publication, names, slices, grains, changes.restated),
        outcomes=outcomes_of(config, published),
        changes=changes,
        results=sum(sum(rows_by_day(publication, name).values()) for name in published.grains),
    )
