"""Whether a change of an SLI is chance, late labels, bad data, or one slice: a verdict, a sentence and four findings.

Limit: one change between two windows at a time; chance is judged by the interval of the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from sli.calendar.interval import moment
from sli.config.arguments import When
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import StoreError
from sli.judging.sides import Change, Side, change_of, plain, sides_in
from sli.judging.windows import compared_windows
from sli.publishing.store import Store
from sli.reading.figures import interval_text, number
from sli.reading.publication import sli_of
from sli.slis import Sli
from sli.slis.formula import Better, Unit

Verdict = Literal["no value", "no interval", "chance", "late labels", "bad data", "one slice", "all slices"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One of the four questions, what was found, and the answer in a few words."""

    question: str
    finding: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class SliceChange:
    """One slice in both windows. `explains` is how much of the change of the whole it makes: the value now minus the
    value of the whole with this slice as it was before; NaN where it was not computed."""

    slice_by: tuple[str, ...]
    slice: Mapping[str, str | None]
    now: Side
    before: Side
    change: Change
    explains: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A change of an SLI from the window `before` to the window `now`, and what it comes from."""

    model: str
    sli: str
    unit: Unit
    better: Better | None
    slice: Mapping[str, str | None]
    level: float
    timezone: str
    as_of: pd.Timestamp
    now: Side
    before: Side
    change: Change
    verdict: Verdict
    sentence: str
    findings: tuple[Finding, ...]
    """Of the questions `Chance?`, `Late labels?`, `Bad data?` and `One slice?`, in this order."""
    slices: tuple[SliceChange, ...] = ()
    """The slices that explain most first."""

    def lines(self) -> list[str]:
        """What `sli explain` prints."""
        width = max(len(finding.question) for finding in self.findings)
        answers = [f"{one.question:<{width}}  {one.answer}: {one.finding}" for one in self.findings]
        return [self.sentence, *answers]

    def to_dict(self) -> dict[str, object]:
        """As plain values: times as ISO 8601, a number that there is none of as None."""
        return plain(self)


def explain(
    config: str | Path | Config,
    sli: str,
    *,
    slice: Mapping[str, str | None] | None = None,
    start: When = None,
    end: When = None,
    against: str | tuple[When, When] | None = None,
    settings: Sequence[str] = (),
) -> Explanation:
    """Whether a change of an SLI is chance, late labels, bad data, or one slice.

    The window from `start` to `end` (default: the last 7 days up to the newest hour) is compared with `against`: a text
    `START/END` or a pair (default: the stretch of equal length just before). `slice` chooses one slice (default: all
    predictions together). `settings` override keys of the config, each `KEY=VALUE`. Reads no logs. Raises SliError.

    >>> import sli
    >>> found = sli.explain(config, "accuracy")
    >>> found.verdict, [finding.question for finding in found.findings]
    ('no value', ['Chance?', 'Late labels?'])
    """
    config = load_config(config, settings)
    published = Store(config.store, config.storage).published()
    if published is None:
        raise StoreError("nothing is published yet", where=config.store, todo="`sli run CONFIG` first")
    window, window_before = compared_windows(config, published, start, end, against)
    asked = sli_of(config.declared, config.context, published, sli)
    now, before = (sides_in(config, published, [sli], edges, slice)[0] for edges in (window, window_before))
    change = change_of(now, before)
    findings = (_chance(change, asked), _late_labels(now, before, asked))
    verdict = _verdict(now, before, change)
    return Explanation(
        model=config.model,
        sli=sli,
        unit=asked.unit,
        better=asked.direction,
        slice=slice or {},
        level=config.level,
        timezone=config.timezone,
        as_of=pd.Timestamp(moment(published.as_of)),
        now=now,
        before=before,
        change=change,
        verdict=verdict,
        sentence=_sentence(asked, now, before, verdict),
        findings=findings,
    )


def _verdict(now: Side, before: Side, change: Change) -> Verdict:
    """The first rule that holds."""
    if np.isnan([now.value, before.value]).any():
        return "no value"
    if not change.judged:
        return "no interval"
    if not change.told:
        return "chance"
    if now.missing_low <= before.value <= now.missing_high:
        return "late labels"
    return "all slices"


VERDICTS: dict[Verdict, str] = {
    "no value": "there is nothing to compare",
    "no interval": "chance cannot be judged",
    "chance": "nothing to explain: a change of this size happens by chance",
    "late labels": "late labels could explain it",
    "bad data": "bad data",
    "one slice": "real, mostly one slice",
    "all slices": "real, in all slices alike",
}


def _sentence(sli: Sli, now: Side, before: Side, verdict: Verdict) -> str:
    values = (number(side.value, side.reason, sli.unit) for side in (before, now))
    return f"{sli.name}: {' -> '.join(values)}: {VERDICTS[verdict]}"


def _chance(change: Change, sli: Sli) -> Finding:
    if not change.judged:
        return Finding(question="Chance?", finding="there is no interval", answer="cannot be judged")
    interval = interval_text(change.low, change.high, sli.unit)
    finding = f"changed by {number(change.value, None, sli.unit)}, interval {interval}"
    return Finding(question="Chance?", finding=finding, answer="no" if change.told else "yes")


def _late_labels(now: Side, before: Side, sli: Sli) -> Finding:
    bounds = interval_text(now.missing_low, now.missing_high, sli.unit)
    missing = now.predictions - now.labelled
    finding = f"{missing:,} of {now.predictions:,} labels are missing; whatever they say: {bounds or 'no bounds'}"
    could = now.missing_low <= before.value <= now.missing_high
    return Finding(question="Late labels?", finding=finding, answer="could undo it" if could else "no")
