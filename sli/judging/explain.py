"""Whether a change of an SLI is chance, late labels, bad data, or one slice: a verdict, a sentence and four findings.

Beside them since when the SLI is worse, which looks at all final days and does not sway the verdict.

The first rule that holds is the verdict: no value, no interval, chance, late labels, bad data, one slice, all slices.
Limit: one change between two windows at a time; chance is judged by the interval of the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sli.calendar.interval import Interval, intersection, moment
from sli.config.arguments import When, slice_columns
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError
from sli.judging.bad_data import BadData, bad_data
from sli.judging.findings import Evidence, Finding, Verdict, findings_of, name_of, sentence_of, verdict_of
from sli.judging.one_slice import SliceChange, Slices
from sli.judging.sides import Change, Side, change_of, plain, sides_in
from sli.judging.since_when import Since, since_of
from sli.judging.usual import UsualMove, usual_move
from sli.judging.windows import compared_windows
from sli.reading.figures import local
from sli.reading.publication import Publication, opened
from sli.reading.requests import rests_on_labels
from sli.slis import Sli
from sli.slis.formula import Better, Unit


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
    usual: UsualMove | None
    """How much the SLI usually moves; None without enough history."""
    verdict: Verdict
    sentence: str
    findings: tuple[Finding, ...]
    """Of the questions `Chance?`, `Late labels?`, `Bad data?` and `One slice?`, in this order."""
    slices: tuple[SliceChange, ...]
    """The slices of each set, the one that explains most first."""
    since: Since
    """The first day from which the SLI is worse, by the final days to the end of `now`; or why none is told."""

    @property
    def rows(self) -> tuple[Finding, ...]:
        """All questions with what was found: the findings, and `Since when?`."""
        since = Finding(question="Since when?", answer=self.since.answer, finding=self.since.sentence)
        return (*self.findings, since)

    def lines(self) -> list[str]:
        """What `sli explain` prints."""
        now, before = (
            " .. ".join(local(at, self.timezone, "hour") for at in (side.start, side.end))
            for side in (self.now, self.before)
        )
        of = name_of(self.slice) if self.slice else "all predictions together"
        width = max(len(row.question) for row in self.rows)
        answers = max(len(row.answer) for row in self.rows)
        return [
            f"{self.sli} of {of}, {now} against {before}",
            self.sentence,
            *(f"  {row.question:<{width}}  {row.answer:<{answers}}  {row.finding}" for row in self.rows),
        ]

    def to_dict(self) -> dict[str, object]:
        """As plain values: times as ISO 8601, a number that there is none of as None."""
        return plain(self) | {"since": self.since.to_dict()}


def explain(
    config: str | Path | Config,
    sli: str,
    *,
    slice: Mapping[str, str | None] | None = None,
    start: When = None,
    end: When = None,
    against: str | tuple[When, When] | None = None,
    as_of: When = None,
    settings: Sequence[str] = (),
) -> Explanation:
    """Whether a change of an SLI is chance, late labels, bad data, or one slice; and since when it is worse.

    The window from `start` to `end` (default: the last 7 days up to the newest hour) is compared with `against`: a text
    `START/END` or a pair (default: the stretch of equal length just before). `slice` chooses one slice (default: all
    predictions together). `as_of` tells what was believed at that time. `settings` override keys of the config, each
    `KEY=VALUE`. Values are in the unit of the SLI, times are UTC. Reads no logs. Raises SliError.

    >>> import sli
    >>> found = sli.explain(config, "accuracy")
    >>> found.verdict, [finding.question for finding in found.findings]
    ('no value', ['Chance?', 'Late labels?', 'Bad data?', 'One slice?'])
    >>> print(found.sentence)
    Nothing to compare: accuracy has no value before: before deployment (now 0.6667).
    """
    config = load_config(config, settings)
    slice_columns(slice, None)
    publication = opened(config, as_of)
    asked, windows = publication.sli(sli), compared_windows(config, publication.published, start, end, against)
    overlap = [] if windows[1] is None else intersection([windows[0]], [windows[1]])
    now, before, *shared = (sides[0] for sides in sides_in(publication, [asked], [*windows, *overlap], slice))
    change = change_of(now, before, shared[0] if shared else None, rests_on_labels(asked))
    if slice and not (now.predictions or before.predictions):
        raise _unknown(asked, slice)
    evidence = _evidence(publication, asked, windows, slice or {}, (now, before, change))
    verdict = verdict_of(evidence)
    return Explanation(
        model=config.model,
        sli=sli,
        unit=asked.unit,
        better=asked.direction,
        slice=slice or {},
        level=config.level,
        timezone=config.timezone,
        as_of=pd.Timestamp(moment(publication.published.as_of)),
        now=now,
        before=before,
        change=change,
        usual=evidence.usual,
        verdict=verdict,
        sentence=sentence_of(evidence, verdict),
        findings=findings_of(evidence),
        slices=evidence.slices,
        since=since_of(publication, asked, slice or {}, windows[0].end),
    )


def _evidence(
    publication: Publication,
    sli: Sli,
    windows: tuple[Interval, Interval | None],
    slice: Mapping[str, str | None],
    sides: tuple[Side, Side, Change],
) -> Evidence:
    """All that the verdict rests on."""
    window, window_before = windows
    now, before, change = sides
    usual, bad = None, BadData(more=(), rows=0, before=0, files=())
    slices: list[SliceChange] = []
    sets = [columns for columns in publication.published.slice_sets if set(slice) < set(columns)]
    if window_before is not None:
        bad = bad_data(publication, window, window_before, (now.predictions, before.predictions))
        usual = usual_move(publication, sli, window, slice)
        if now.known and before.known:
            for columns in sets:
                compared = Slices(publication, sli, columns, (window, window_before), slice)
                slices += compared.changes(now, before)
    return Evidence(
        sli=sli,
        better=sli.direction,
        level=publication.config.level,
        now=now,
        before=before,
        change=change,
        usual=usual,
        bad=bad,
        sliced=bool(sets),
        slices=tuple(slices),
    )


def _unknown(sli: Sli, slice: Mapping[str, str | None]) -> ConfigError:
    """The error of a slice without predictions in both windows."""
    return ConfigError(
        "this slice has no predictions in both windows",
        where="slice",
        found=name_of(slice),
        todo=f"`sli query CONFIG {sli.name} --by {','.join(slice)}` lists the slices",
    )
