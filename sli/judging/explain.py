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

from sli.calendar.interval import intersection, moment
from sli.config.arguments import When, slice_columns
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError
from sli.judging.bad_data import BadData, bad_data
from sli.judging.findings import Evidence, Finding, Verdict, findings_of, sentence_of, verdict_of
from sli.judging.one_slice import SliceChange, Slices
from sli.judging.sides import Change, Side, change_of, sides_in
from sli.judging.since_when import Since, sinces_of
from sli.judging.usual import UsualMove, usual_moves
from sli.judging.windows import Windows, compared_windows
from sli.reading.figures import full_slice_name, local, record
from sli.reading.publication import Publication, opened
from sli.reading.slice_values import check_slice
from sli.slis import Sli
from sli.slis.formula import Better, Unit
from sli.slis.terms import rests_on_labels

BATCH = 16
"""SLIs whose tiles are in memory together."""
NO_BAD_DATA = BadData(more=(), rows=0, before=0, files=())


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

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What a notebook shows."""
        return {"text/plain": "\n".join(self.lines())}

    def lines(self) -> list[str]:
        """What `sli explain` prints."""
        now, before = (
            " .. ".join(local(at, self.timezone, "hour") for at in (side.start, side.end))
            for side in (self.now, self.before)
        )
        of = full_slice_name(self.slice) if self.slice else "all predictions together"
        width = max(len(row.question) for row in self.rows)
        answers = max(len(row.answer) for row in self.rows)
        return [
            f"{self.sli} of {of}, {now}{f' against {before}' if self.before.start < self.before.end else ''}",
            self.sentence,
            *(f"  {row.question:<{width}}  {row.answer:<{answers}}  {row.finding}" for row in self.rows),
        ]

    def to_dict(self) -> dict[str, object]:
        """As plain values: times as ISO 8601, a number that there is none of as None."""
        return record(self) | {"since": self.since.to_dict()}


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
    Nothing to compare: there is no time before to compare with (accuracy is 0.6667 now).
    """
    config = load_config(config, settings)
    slice_columns(slice, None)
    publication = opened(config, as_of)
    asked = publication.sli(sli)
    windows = compared_windows(config, publication.published, start, end, against)
    return explanations(publication, [asked], windows, slice or {})[sli]


def explanations(
    publication: Publication, slis: Sequence[Sli], windows: Windows, slice: Mapping[str, str | None]
) -> dict[str, Explanation]:
    """What `explain` returns of each of these SLIs, by its name: their tiles are merged together, `BATCH` at a time.

    Raises SliError.
    """
    found = {}
    for at in range(0, len(slis), BATCH):
        batch = slis[at : at + BATCH]
        evidence = _evidence(publication, batch, windows, slice)
        since = sinces_of(publication, batch, slice, windows[0].end)
        for one, other in zip(evidence, since, strict=True):
            found[one.sli.name] = _explained(publication, one, slice, other)
    return found


def _explained(
    publication: Publication, evidence: Evidence, slice: Mapping[str, str | None], since: Since
) -> Explanation:
    config, asked, verdict = publication.config, evidence.sli, verdict_of(evidence)
    return Explanation(
        model=config.model,
        sli=asked.name,
        unit=asked.unit,
        better=asked.direction,
        slice=slice,
        level=config.level,
        timezone=config.timezone,
        as_of=pd.Timestamp(moment(publication.published.as_of)),
        now=evidence.now,
        before=evidence.before,
        change=evidence.change,
        usual=evidence.usual,
        verdict=verdict,
        sentence=sentence_of(evidence, verdict),
        findings=findings_of(evidence),
        slices=evidence.slices,
        since=since,
    )


def _evidence(
    publication: Publication,
    slis: Sequence[Sli],
    windows: Windows,
    slice: Mapping[str, str | None],
) -> list[Evidence]:
    """All that the verdict of each SLI rests on."""
    window, before = windows
    overlap = [] if before is None else intersection([window], [before])
    sides = [*zip(*sides_in(publication, slis, [window, before, *overlap], slice), strict=True)]
    if slice and not any(side.predictions for of_sli in sides for side in of_sli[:2]):
        check_slice(publication, slice)
        raise _unseen(slis[0], slice)
    usual: Sequence[UsualMove | None] = [None] * len(slis)
    bad: dict[tuple[int, int], BadData] = {}
    if before is not None:
        usual = usual_moves(publication, slis, window, slice)
        for counts in {(now.predictions, past.predictions) for now, past, *_ in sides}:
            bad[counts] = bad_data(publication, window, before, counts)
    changes, sliced = _slices(publication, slis, windows, slice, sides)
    return [
        Evidence(
            sli=sli,
            level=publication.config.level,
            now=now,
            before=past,
            change=change_of(now, past, shared[0] if shared else None, rests_on_labels(sli.formula)),
            usual=move,
            bad=bad.get((now.predictions, past.predictions), NO_BAD_DATA),
            slice=slice,
            sliced=sliced,
            slices=tuple(changes.get(sli.name, ())),
        )
        for sli, (now, past, *shared), move in zip(slis, sides, usual, strict=True)
    ]


def _slices(
    publication: Publication,
    slis: Sequence[Sli],
    windows: Windows,
    slice: Mapping[str, str | None],
    sides: Sequence[tuple[Side, ...]],
) -> tuple[dict[str, list[SliceChange]], bool]:
    """The slices of each SLI that has a value in both windows, and whether slices are kept within this one at all."""
    sets = [columns for columns in publication.published.slice_sets if set(slice) < set(columns)]
    known = [(sli, now, past) for sli, (now, past, *_) in zip(slis, sides, strict=True) if now.known and past.known]
    changes: dict[str, list[SliceChange]] = {sli.name: [] for sli, _, _ in known}
    if windows[1] is not None and known:
        valued, now, before = ([*column] for column in zip(*known, strict=True))
        for columns in sets:
            compared = Slices(publication, valued, columns, (windows[0], windows[1]), slice)
            for sli, of_sli in zip(valued, compared.changes(now, before), strict=True):
                changes[sli.name] += of_sli
    return changes, bool(sets)


def _unseen(sli: Sli, slice: Mapping[str, str | None]) -> ConfigError:
    """The error of a slice without predictions in both windows."""
    return ConfigError(
        "this slice has no predictions in either window",
        where="slice",
        found=full_slice_name(slice),
        todo=f"`sli query CONFIG {sli.name} --by {','.join(slice)}` lists the slices",
    )
