"""Ids: are predictions joined with feedback, and if not, why? Limit: judged by a sample, so rare causes stay unseen."""

from __future__ import annotations

from collections.abc import Iterator

from sli.calendar.duration import SECOND
from sli.doctor.finding import Finding, Skipped, ok, problem, span_text, warning
from sli.doctor.sample import Sample, sample_of
from sli.doctor.setup import Setup
from sli.reading.figures import number

SOME, MANY = 0.05, 0.2
"""Shares of the sampled predictions from which a cause is told: ids spelled otherwise or early, and late ones."""
HARDLY = 0.05
"""If a smaller share is joined, the ids themselves may differ, and more distant spellings are tried."""


def ids(setup: Setup) -> Iterator[Finding]:
    """Whether predictions find their feedback."""
    sample = sample_of(setup.config, setup.inputs)
    if sample is None:
        raise Skipped("no prediction of the sample exists, for example because of `where`")
    found = list(_causes(setup, sample))
    if not sample.joined and not any(finding.level == "problem" for finding in found):
        ours, theirs = sample.examples
        found.append(
            problem(
                f"no prediction has feedback, {_read(sample)}; for example '{ours}' and '{theirs}'",
                "check that both paths are of one model, and that `id` names the same column in both logs",
            )
        )
    yield from found
    if not found:
        times = f"{_share(sample.late, sample)} only later, {_share(sample.early, sample)} only before"
        in_time, none = _share(sample.joined, sample), _share(sample.lacking, sample)
        yield ok(f"{in_time} have feedback in time, {times}, {none} none, {_read(sample)}")


def _causes(setup: Setup, sample: Sample) -> Iterator[Finding]:
    wrong = problem if sample.joined < HARDLY * sample.predictions else warning
    close = list(sample.respelled.items())[: None if wrong is problem else -1]
    way, count = next(((way, count) for way, count in close if count >= SOME * sample.predictions), ("", 0))
    ours, theirs = sample.examples
    if count:
        yield wrong(
            f"ids are written in two ways: if {way}, {_share(count, sample)} more predictions have feedback, "
            f"{_read(sample)}; for example '{ours}' and '{theirs}'",
            "write them alike, or make them so in the config: `id: {sql: EXPRESSION}` of one log",
        )
    if sample.late >= MANY * (sample.joined + sample.late) and sample.late:
        yield wrong(
            f"the horizon is too short: {_share(sample.late, sample)} of predictions have feedback only later than "
            f"{setup.config.horizon.text}, half of them after {number(sample.late_by / SECOND, unit='s')} or more, "
            f"{_read(sample)}",
            "set `horizon` longer, if these labels should count",
        )
    if sample.early >= SOME * sample.predictions:
        yield wrong(
            f"feedback is known before its prediction for {_share(sample.early, sample)} of predictions, half of them "
            f"by {number(sample.early_by / SECOND, unit='s')} or more, {_read(sample)}",
            "compare the zones and clocks of both logs: times without a zone are read in `timezone`; if it should be "
            "so, set `feedback.early`",
        )


def _share(count: int, sample: Sample) -> str:
    return f"{100 * count / sample.predictions:.1f} %"


def _read(sample: Sample) -> str:
    predictions = f"{sample.predictions:,} predictions ({span_text(sample.span)})"
    return f"in a sample of {predictions} and {sample.feedback:,} rows of feedback"
