"""What the evidence says: the verdict, the sentence, and the four findings with their figures.

Limit: words only; every number comes from the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sli.judging.bad_data import KEPT, MATERIAL, BadData, beyond_chance
from sli.judging.one_slice import SliceChange
from sli.judging.sides import Change, Side
from sli.judging.usual import SHARE, UsualMove
from sli.reading.figures import counted, difference, full_slice_name, number
from sli.slis import Sli
from sli.slis.formula import Unit
from sli.slis.terms import rests_on_labels

Verdict = Literal["no value", "no interval", "chance", "late labels", "bad data", "one slice", "all slices"]
HALF = 0.5
"""A slice is most of a change if it explains at least this share of it."""
BEYOND = 1.5
"""... and at least so many times its weight: a slice of a third of the labels must explain more than a half."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a change."""

    sli: Sli
    level: float
    now: Side
    before: Side
    change: Change
    usual: UsualMove | None
    bad: BadData
    slice: Mapping[str, str | None]
    """The slice that is compared; empty: the whole."""
    sliced: bool
    """Whether the config keeps slices within the predictions that are compared."""
    slices: tuple[SliceChange, ...]

    @property
    def unit(self) -> Unit:
        return self.sli.unit

    def text(self, value: float) -> str:
        """A value in the unit of the SLI."""
        return number(value, None, self.unit)

    def span(self, low: float, high: float) -> str:
        return f"{self.text(low)} to {self.text(high)}"

    def difference(self, by: float) -> str:
        """A difference of values, to the decimals of the value now."""
        return difference(by, self.now.value, self.unit)

    @property
    def known(self) -> bool:
        """Whether both windows have a value."""
        return self.now.known and self.before.known

    @property
    def undone_by_labels(self) -> bool:
        """Whether the labels that are missing now could bring the value back to what it was."""
        low, high = self.bounds
        return self.now.missing > 0 and low <= self.before.value <= high

    @property
    def set_aside(self) -> int:
        """How many of the missing labels came as rows that do not count, beyond those of the time before."""
        lost = [one.extra for one in self.bad.more if one.log == "feedback" and one.name not in KEPT]
        return min(sum(lost), self.now.missing) if self.labels else 0

    @property
    def undone_by_rows(self) -> bool:
        """Whether the rows set aside beyond those before could, by what they say, bring the change within chance."""
        # Unmatched feedback may belong to predictions that are lost: pairs that are in neither count.
        pairs = sum(one.extra for one in self.bad.more if one.log == "predictions" or one.name == "orphan")
        rows = max(self.set_aside, pairs)
        if not rows or rows < MATERIAL * self.now.predictions:
            return False
        if not self.labels or (pairs and not self.now.missing):
            return True  # what a prediction would add is not known
        low, high = (end - self.before.value for end in self.bounds_of(rows))
        slack = (self.change.value - self.change.low, self.change.high - self.change.value)
        return not (low - slack[0] > 0 or high + slack[1] < 0)

    def bounds_of(self, rows: int) -> tuple[float, float]:
        """The bounds if so many labels were missing: exact for a mean, near for other SLIs; NaN if unknown."""
        labelled, missing = self.now.labelled, self.now.missing
        if not missing or not rows:
            return self.now.value, self.now.value
        share = rows / missing
        if rests_on_labels(self.sli.formula):
            share *= (labelled + missing) / (labelled + rows)
        low, high = (self.now.value + share * (end - self.now.value) for end in self.bounds)
        return low, high

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value that the labels missing now can make; NaN if unknown."""
        if self.sli.declaration.get("sli") == "coverage":
            return self.now.value, 1.0
        if self.sli.declaration.get("sli") == "labelled":
            return self.now.value, float(self.now.predictions)
        return self.now.missing_low, self.now.missing_high

    @property
    def labels(self) -> bool:
        """Whether missing labels can change the value."""
        return rests_on_labels(self.sli.formula) or self.sli.declaration.get("sli") in ("coverage", "labelled")

    @property
    def main(self) -> SliceChange | None:
        """The slice that is most of the change, if one is: of several the smallest that explains about as much."""
        mostly = [one for one in self.slices if self.share(one) >= _least(one.weight) and self.changed(one)]
        if not mostly:
            return None
        most = max(map(self.share, mostly))
        return min((one for one in mostly if self.share(one) >= 0.9 * most), key=lambda one: one.weight)

    def changed(self, one: SliceChange) -> bool:
        """Whether a slice itself changed beyond chance: its value, or its share of the whole."""
        if not one.change.judged or one.change.told:
            return True
        (now, whole), (before, whole_before) = (
            (side.predictions, all_of_them.predictions)
            for side, all_of_them in ((one.now, self.now), (one.before, self.before))
        )
        grew = beyond_chance(now, before, (whole, whole_before))
        return grew or beyond_chance(before, now, (whole_before, whole))

    def share(self, one: SliceChange) -> float:
        """How much of the change a slice explains; negative if it moved the other way."""
        share = one.explains / self.change.value if self.change.value else 0.0
        return share if share == share else 0.0


def _least(weight: float) -> float:
    """The share of the change that a slice of this weight must explain to be most of it.

    Beyond a weight of a half it must leave at most half of what it would leave if all slices had changed alike.
    """
    return max(HALF, BEYOND * weight if weight <= HALF else (1 + weight) / 2)


def verdict_of(evidence: Evidence) -> Verdict:
    """The first rule that holds."""
    if not evidence.known:
        return "no value"
    if not evidence.change.judged:
        return "no interval"
    if not evidence.change.told:
        return "chance"
    if evidence.undone_by_rows:
        return "bad data"
    if evidence.undone_by_labels:
        return "late labels"
    return "one slice" if evidence.main is not None else "all slices"


def sentence_of(evidence: Evidence, verdict: Verdict) -> str:
    """The answer: what changed, and what it comes from."""
    now, before = evidence.now, evidence.before
    if verdict == "no value" and before.start == before.end:
        value = f"{evidence.sli.name} is {evidence.text(now.value)} now" if now.known else f"now: {now.reason}"
        return f"Nothing to compare: there is no time before to compare with ({value})."
    if verdict == "no value":
        side, when = (now, "now") if not now.known else (before, "before")
        rest = f" (now {evidence.text(now.value)})" if now.known else ""
        return f"Nothing to compare: {evidence.sli.name} has no value {when}: {side.reason}{rest}."
    return f"{_moved(evidence, verdict)}. {_judged(evidence, verdict)}."


def _moved(evidence: Evidence, verdict: Verdict) -> str:
    """`recall fell by 0.031, from 0.435 to 0.404, worse`; what is within chance is neither worse nor better."""
    old, new, change = evidence.before.value, evidence.now.value, evidence.change.value
    if not change:
        return f"{evidence.sli.name} is {evidence.text(new)}, as before"
    fell = change < 0
    better = evidence.sli.direction
    told = better is not None and verdict != "chance"
    worse = f", {'worse' if fell == (better == 'higher') else 'better'}" if told else ""
    if evidence.before.start > evidence.now.start:
        higher = f"{'lower' if fell else 'higher'} by {evidence.difference(abs(change))} than in the later time"
        return f"{evidence.sli.name} is {higher}, {evidence.text(new)} against {evidence.text(old)}{worse}"
    values = f"from {evidence.text(old)} to {evidence.text(new)}"
    return f"{evidence.sli.name} {'fell' if fell else 'rose'} by {evidence.difference(abs(change))}, {values}{worse}"


def _judged(evidence: Evidence, verdict: Verdict) -> str:
    if verdict == "no interval":
        return f"Chance cannot be judged: {evidence.sli.name} has no interval{_as_usual(evidence)}"
    if verdict == "chance":
        return "Nothing to explain: a change of this size is within chance"
    if verdict == "late labels":
        if evidence.now.maturity == "final":
            return f"Missing labels could explain it: {evidence.now.missing:,} never came"
        return f"Late labels could explain it: {evidence.now.missing:,} are still missing"
    if verdict == "bad data":
        return f"Bad data: {_rows_set_aside(evidence)}"
    if (main := evidence.main) is None:
        return f"It is real{', no slice stands out' * bool(evidence.slices)}{_as_usual(evidence)}"
    return f"It is real, mostly {full_slice_name(main.slice)}{_as_usual(evidence)}"


def _rows_set_aside(evidence: Evidence) -> str:
    """`343 of the 582 missing labels are invalid rows`, or what is set aside of the predictions."""
    if not evidence.set_aside:
        return evidence.bad.text
    feedback = [one for one in evidence.bad.more if one.log == "feedback"]
    invalid = all(one.name == "invalid" for one in feedback)
    kind = "invalid rows" if invalid else "rows that do not count"
    return f"{evidence.set_aside:,} of the {evidence.now.missing:,} missing labels are {kind}"


def _as_usual(evidence: Evidence) -> str:
    """That a change is no larger than what is usual, if so."""
    usual = evidence.usual
    if usual is None or abs(evidence.change.value) > usual.move:
        return ""
    return f". Moves of up to {evidence.difference(usual.move)} from one {usual.stretch} to the next are usual"


def findings_of(evidence: Evidence) -> tuple[Finding, ...]:
    """The four questions with what was found."""
    return (_chance(evidence), _late_labels(evidence), _bad_data(evidence), _one_slice(evidence))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One of the four questions, the answer in a few words, and what it rests on."""

    question: str
    answer: str
    finding: str


def _chance(evidence: Evidence) -> Finding:
    change = evidence.change
    usual = f"; {_usual(evidence.usual, evidence)}" if evidence.usual else ""
    if not change.judged:
        why = "no interval of the difference is known" if evidence.known else "no values"
        return Finding(question="Chance?", answer="cannot be judged", finding=why + usual)
    by, low, high = (evidence.difference(end) for end in (change.value, change.low, change.high))
    finding = f"now minus before is {by}, {evidence.level * 100:g}% interval {low} to {high}{usual}"
    return Finding(question="Chance?", answer="no" if change.told else "yes", finding=finding)


def _usual(usual: UsualMove, evidence: Evidence) -> str:
    share = f"{SHARE:.0%} of the last {usual.moves} times"
    return f"from one {usual.stretch} to the next it usually moves by up to {evidence.difference(usual.move)} ({share})"


def _late_labels(evidence: Evidence) -> Finding:
    now, before, name = evidence.now, evidence.before, evidence.sli.name
    low, high = evidence.bounds
    question = "Missing labels?" if now.maturity == "final" and now.missing and evidence.labels else "Late labels?"
    if not evidence.labels:
        return Finding(question="Late labels?", answer="no", finding=f"{name} does not depend on labels")
    if not now.missing:
        return Finding(question="Late labels?", answer="no", finding=f"all {now.predictions:,} labels are in")
    never = now.maturity == "final"
    if not now.labelled and rests_on_labels(evidence.sli.formula):
        rows = f"{counted(evidence.bad.rows, 'row')} of this time do not count: sli show CONFIG --table audit"
        cause = rows if evidence.bad.rows else "no feedback of them is known"
        return Finding(
            question=question, answer="yes, all", finding=f"none of {now.predictions:,} labels is in; {cause}"
        )
    missing = f"{now.missing:,} of {now.predictions:,} labels {'never came' if never else 'are missing'}"
    if evidence.set_aside:
        missing += f", {evidence.set_aside:,} of them came as rows that do not count"
    if low != low:
        unknown = f"{missing}; what they could make of {name} is not known"
        return Finding(question=question, answer="cannot be judged", finding=unknown)
    ends = f"with any labels {name} would be" if never else f"whatever they say, {name} ends"
    bounds = f"{ends} between {evidence.span(low, high)}"
    finding = f"{missing}; {bounds.replace(' to ', ' and ')}"
    if before.known:
        finding += f"; before it was {evidence.text(before.value)}"
    undone = evidence.undone_by_labels
    if evidence.undone_by_rows and evidence.set_aside:
        rest = evidence.bounds_of(now.missing - evidence.set_aside)
        undone = rest[0] <= before.value <= rest[1]
        finding += f"; the other {now.missing - evidence.set_aside:,} alone leave {evidence.span(*rest)}"
    answer = "could undo it" if undone else "no" if evidence.known else "cannot be judged"
    if evidence.change.judged and not evidence.change.told:
        answer = "not needed"
    return Finding(question=question, answer=answer, finding=finding)


def _bad_data(evidence: Evidence) -> Finding:
    bad = evidence.bad
    files = f"; set aside: {'; '.join(bad.files)}" if bad.files else ""
    if bad.more:
        few = "" if evidence.undone_by_rows else ", too few to explain it"
        answer = "yes" if evidence.undone_by_rows else "look at files" if bad.files else "no"
        return Finding(question="Bad data?", answer=answer, finding=bad.text + few + files)
    if not bad.rows:
        rows = "every row of this time counts"
    else:
        usual = f"as usual ({bad.before:,} per as many predictions before)"
        rows = f"{counted(bad.rows, 'row')} of this time {'does' if bad.rows == 1 else 'do'} not count, {usual}"
    return Finding(question="Bad data?", answer="look at files" if bad.files else "no", finding=rows + files)


def _one_slice(evidence: Evidence) -> Finding:
    question = "One slice?"
    if not evidence.sliced:
        within = f" within {full_slice_name(evidence.slice)}" if evidence.slice else ""
        return Finding(question=question, answer="not asked", finding=f"`slice_by` has no slices{within}")
    if not evidence.known:
        return Finding(question=question, answer="cannot be judged", finding="no values")
    if not evidence.slices or not evidence.change.value:
        return Finding(question=question, answer="no", finding="nothing changed that a slice could explain")
    main = evidence.main
    most = main or max(evidence.slices, key=lambda one: (evidence.share(one), -one.weight))
    kept = evidence.now.value - most.explains
    values = f"{evidence.text(most.before.value)} -> {evidence.text(most.now.value)}"
    went = f"{most.weight:.0%} of the whole, went {values}; "
    went += f"with {full_slice_name(most.slice)} as before, {evidence.sli.name} would be"
    finding = f"{went} {evidence.text(kept)}"
    if evidence.change.judged and not evidence.change.told:
        told = f"most came from {full_slice_name(most.slice)}, {finding}"
        return Finding(question=question, answer="nothing to explain", finding=told)
    finding += f": it explains {evidence.share(most):.0%} of the change"
    if main is None:
        return Finding(question=question, answer="none stands out", finding=f"{full_slice_name(most.slice)}, {finding}")
    return Finding(question=question, answer=f"mostly {full_slice_name(main.slice)}", finding=finding)
