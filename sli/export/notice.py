"""The outcome of a run as a small document: published, breached, set aside, held, labels that came too late.

Limit: it tells what is new since the run before, in a few lines; the tables have all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import cast

import pandas as pd

from sli.calendar.interval import Interval, intersection, iso
from sli.config.export_sections import Event
from sli.config.model import Config
from sli.engine.storage import message_of
from sli.errors import SliError
from sli.judging.breaches import breaches
from sli.judging.standing import bound_text
from sli.masking import masked, masked_tree
from sli.reading.figures import counted, number
from sli.runs.outcome import Outcome

VERSION = 1
"""Of the document: raised when a field changes its meaning or goes. New fields may come without that."""
LISTED = 20
"""How many entries a list of the document has at most."""
KEY = ["sli", "definition", "grain", "window_end", "slice"]


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What is told of a run. A field is empty where there is nothing to tell; a failed run has only `failed`."""

    model: str
    time: str
    """When the run ended: ISO 8601."""
    run: str | None = None
    """Its id in the tables."""
    as_of: str | None = None
    published: Mapping[str, object] | None = None
    """How many `results` and `hours` changed, and the results by `causes`; no event if no result changed."""
    breached: Sequence[Mapping[str, object]] = ()
    """For each SLI how many `windows` breach its objective and did not before, and the newest of them."""
    set_aside: Sequence[Mapping[str, object]] = ()
    """Bad input: log, check, file, count, explanation."""
    held: Sequence[Sequence[str]] = ()
    """Start and end of final hours that input came for; they wait for a backfill."""
    late_labels: int = 0
    """Rows of feedback that came later than the horizon, so that they do not count."""
    failed: Mapping[str, object] | None = None
    """The error: what, where, expected, found, todo, as far as it says them."""
    lines: Sequence[tuple[Event, str]] = ()
    """The same in words, each with what it is about; those about `breached` in its order."""

    @property
    def events(self) -> tuple[Event, ...]:
        """What the run has to tell."""
        kinds: tuple[Event, ...] = ("published", "breached", "set_aside", "held", "late_labels", "failed")
        nothing_changed = {"published"} if self.published is not None and not self.published["results"] else set()
        return tuple(kind for kind in kinds if getattr(self, kind) and kind not in nothing_changed)

    def document(self) -> dict[str, object]:
        """The notice as JSON has it."""
        told = asdict(self)
        del told["lines"]
        return {"version": VERSION, "events": list(self.events), "text": self.text, **told}

    @property
    def text(self) -> str:
        """All that it tells, a line each."""
        return "\n".join(line for _, line in self.lines)


def notice_of(config: Config, runs: Sequence[Outcome]) -> Notice | None:
    """What runs have to tell that were made together, such as the parts of a backfill; None: none published anything.

    Raises StoreError.
    """
    published = [run for run in runs if run.published]
    if not published:
        return None
    last, causes = published[-1], Counter[str]()
    for run in published:
        causes.update(run.changes.causes)
    breached = [] if last.plan.older else _breached(config, published)
    # Held hours are told once: those that this run was to confirm, and could not.
    held = intersection(last.plan.to_confirm, last.plan.held)
    audit = [row for run in published for row in run.newly_bad.to_pylist()]
    set_aside = [{name: row[name] for name in ("log", "check", "file", "count", "explanation")} for row in audit]
    late = sum(run.newly_late for run in published)
    hours, results = sum(run.tiles for run in published), sum(run.changes.changed for run in published)
    notice = Notice(
        model=config.model,
        time=_now(),
        run=last.run_id,
        as_of=iso(last.plan.as_of),
        published={"results": results, "hours": hours, "causes": dict(causes.most_common())},
        breached=breached[:LISTED],
        set_aside=set_aside[:LISTED],
        held=[[iso(span.start), iso(span.end)] for span in held][:LISTED],
        late_labels=late,
        lines=_lines(config, (results, hours), breached[:LISTED], set_aside[:LISTED], held[:LISTED], late),
    )
    return _masked(notice)


def _lines(
    config: Config,
    published: tuple[int, int],
    breached: Sequence[Mapping[str, object]],
    set_aside: Sequence[Mapping[str, object]],
    held: Sequence[Interval],
    late: int,
) -> list[tuple[Event, str]]:
    results, hours = published
    said: list[tuple[Event, str]] = [
        ("published", f"published: {counted(results, 'result')} changed, {counted(hours, 'hour')} recomputed")
    ]
    said += [("breached", _breach_line(config, breach)) for breach in breached]
    for row in set_aside:
        rows = "rows unknown" if row["check"] == "unreadable" else counted(cast("int", row["count"]), "row")
        said.append(("set_aside", f"set aside: {row['log']}, {row['check']}, {rows}: {row['explanation']}"))
    said += [("held", f"held: input came for final hours, {span}; `sli backfill` applies it") for span in held]
    if late:
        said.append(("late_labels", f"late labels: {counted(late, 'row')} of feedback came too late to count"))
    return said


def failure_notice(config: Config, error: BaseException) -> Notice:
    """What a run has to tell that failed."""
    known = isinstance(error, SliError)
    parts = error.to_dict() if isinstance(error, SliError) else {"what": f"{type(error).__name__}: {message_of(error)}"}
    words = {name: parts[name] for name in ("what", "where", "expected", "found", "todo") if parts.get(name)}
    todo = f"; {words['todo']}" if known and "todo" in words else ""
    return _masked(
        Notice(model=config.model, time=_now(), failed=words, lines=[("failed", f"failed: {words['what']}{todo}")])
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _masked(notice: Notice) -> Notice:
    return Notice(**masked_tree({item.name: getattr(notice, item.name) for item in fields(notice)}))


def _breached(config: Config, runs: Sequence[Outcome]) -> list[dict[str, object]]:
    """For each SLI the windows that breach its objective after the last run and did not before the first."""
    frames = []
    for run in runs:
        for table in run.changes.revised:
            rows = table.to_pandas()
            frames.append(rows[(rows.verdict == "breached") | (rows.old_verdict == "breached")])
    if not frames:
        return []
    rows = pd.concat(frames).astype({"slice": object})
    key = [rows.slice.map(lambda pairs: str(dict(pairs))) if name == "slice" else rows[name] for name in KEY]
    # Of several runs the verdict before the first one counts, and the one after the last.
    first = rows.groupby(key, sort=False).old_verdict.transform(lambda verdicts: verdicts.iloc[0])
    last = ~rows.assign(old_verdict=first).set_index(key).index.duplicated(keep="last")
    found = breaches(rows.assign(old_verdict=first)[last], config.timezone)
    return [{"sli": name, **breach} for name, breach in found.items()]


def _breach_line(config: Config, breach: Mapping[str, object]) -> str:
    """`recall breached: 0.31, at least 0.4 required; day 2013-12-31 JFK and 2 more windows, provisional`."""
    name, windows = str(breach["sli"]), cast("int", breach["windows"])
    unit = config.units.get(name, "")
    value = number(cast("float", breach["value"]), None, unit)
    more = f" and {counted(windows - 1, 'more window')}" if windows > 1 else ""
    bound = bound_text(str(breach["objective"]), unit)
    return masked(f"{name} breached: {value}, {bound} required; {breach['newest']}{more}, {breach['maturity']}")
