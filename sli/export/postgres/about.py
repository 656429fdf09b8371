"""What the tables say of a model besides its results: how it stands, what explains a change, what changed, audit, runs.

The numbers and sentences are those of `sli show` and of the page. Limit: changes are those of the newest publication;
the history of all is in the store.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.interval import moment
from sli.errors import SliError
from sli.export.postgres.rows import array_text, bounds_of, with_slice_keys
from sli.export.postgres.tables import AUDIT, CHANGES, FINDINGS, MODELS, RUNS, SLIS, Target
from sli.judging.explain import Explanation, explanations
from sli.judging.standing import Standing, standing, usable_slis
from sli.judging.windows import compared_windows
from sli.publishing.audit import current_audit
from sli.publishing.rows import decode_texts, text_counts
from sli.reading.publication import Publication, pinned

KINDS: dict[str, pa.DataType] = {
    "text": pa.string(),
    "timestamptz": schemas.UTC,
    "double precision": pa.float64(),
    "bigint": pa.int64(),
}
"""The Arrow type of a column, by its type in PostgreSQL; of any other it is text."""


def about(publication: Publication, position: Mapping[str, object]) -> Iterator[tuple[Target, pa.Table]]:
    """Tables, each with all rows that it has of the model. Raises StoreError.

    `position` is how far the results have come: columns of `models`.
    """
    with pinned(publication):
        now = _standing(publication)
        found = {} if isinstance(now, SliError) else _explanations(publication)
    revised = _revised(publication)
    causes = text_counts(revised.column("cause"))
    yield SLIS, _slis(publication, now, found)
    yield FINDINGS, _findings(publication, found)
    yield CHANGES, _changes(publication, revised)
    yield AUDIT, _audit(publication)
    yield RUNS, _runs(publication)
    yield MODELS, _model(publication, now, causes, position)


def _standing(publication: Publication) -> Standing | SliError:
    """How the model stands; or why that cannot be said, for example since its config changed and no run came since."""
    try:
        return standing(publication.config)
    except SliError as error:
        return error


def _explanations(publication: Publication) -> Mapping[str, Explanation]:
    windows = compared_windows(publication.config, publication.published)
    return explanations(publication, usable_slis(publication)[0], windows, {})


def _slis(publication: Publication, now: Standing | SliError, found: Mapping[str, Explanation]) -> pa.Table:
    config = publication.config
    stands = {} if isinstance(now, SliError) else {one.sli: one for one in now.slis}
    rows: list[dict[str, object]] = []
    for number, sli in enumerate(config.declared):
        objective = sli.objective.text if sli.objective else None
        low, high = bounds_of(objective)
        row: dict[str, object] = {"sli": sli.name, "number": number, "definition": config.definition(sli)}
        row |= {"unit": sli.unit, "better": sli.direction, "objective": objective}
        row |= {"objective_low": low, "objective_high": high}
        if one := stands.get(sli.name):
            side = one.now
            row |= {"value": side.value, "reason": side.reason, "ci_low": side.low, "ci_high": side.high}
            row |= {"missing_low": side.missing_low, "missing_high": side.missing_high}
            row |= {"predictions": side.predictions, "labelled": side.labelled, "coverage": side.coverage}
            row |= {"maturity": side.maturity, "verdict": one.verdict or None}
            row |= {"before": None if one.before is None else one.before.value}
            if one.change is not None:
                row |= {"change": one.change.value, "change_low": one.change.low, "change_high": one.change.high}
        row["sentence"] = found[sli.name].sentence if sli.name in found else None
        rows.append(row)
    return _table(SLIS, publication, rows)


def _findings(publication: Publication, found: Mapping[str, Explanation]) -> pa.Table:
    rows: list[dict[str, object]] = [
        {"sli": sli, "number": number, "question": row.question, "answer": row.answer, "finding": row.finding}
        for sli, explanation in found.items()
        for number, row in enumerate(explanation.rows)
    ]
    return _table(FINDINGS, publication, rows)


def _revised(publication: Publication) -> pa.Table:
    """The revisions of the newest publication, the first one excepted: it only added."""
    sequence = publication.published.sequence
    only = pc.scalar(False) if sequence == 1 else pc.field("sequence") == sequence
    names = [name for name in schemas.REVISIONS.names if name not in ("day", "sequence", "backfill")]
    return publication.rows("revisions", names, only)


def _changes(publication: Publication, revised: pa.Table) -> pa.Table:
    """Results that the newest publication changed or removed, but those that only became final: the newest first."""
    changed = pc.is_in(revised.column("change"), pa.array(["changed", "removed"]))
    rows = revised.filter(pc.and_(changed, pc.not_equal(revised.column("cause"), pa.scalar("matured"))))
    rows = decode_texts(with_slice_keys(rows, {}))
    rows = rows.sort_by(
        [("window_end", "descending"), *((name, "ascending") for name in ("grain", "sli", "slice_key"))]
    )
    model = pa.repeat(pa.scalar(publication.config.model), len(rows))
    numbers = pa.array(range(len(rows)), pa.int64())
    rows = rows.set_column(rows.schema.get_field_index("model"), "model", model).append_column("number", numbers)
    return rows.select(list(CHANGES.columns))


def _audit(publication: Publication) -> pa.Table:
    rows = publication.rows("audit", None, current_audit(publication.published)).to_pylist()
    numbered: list[dict[str, object]] = [
        {**row, "number": number, "samples": array_text(row["samples"] or [])} for number, row in enumerate(rows)
    ]
    return _table(AUDIT, publication, numbered)


def _runs(publication: Publication) -> pa.Table:
    rows = publication.rows("runs", [name for name in RUNS.columns if name != "model"]).to_pylist()
    return _table(RUNS, publication, rows)


def _model(
    publication: Publication, now: Standing | SliError, causes: Counter[str], position: Mapping[str, object]
) -> pa.Table:
    config, published = publication.config, publication.published
    said = {"sentence": now.what} if isinstance(now, SliError) else {"sentence": now.sentence, "period": now.period}
    problems = () if isinstance(now, SliError) else now.problems
    row = {
        **position,
        **said,
        "run_id": published.run_id,
        "as_of": moment(published.as_of),
        "newest": moment(published.newest),
        "timezone": config.timezone,
        "horizon": config.horizon.text,
        "grains": array_text(published.grains),
        "problems": array_text(problems),
        "causes": json.dumps(causes),
        "exported_at": datetime.now(UTC),
    }
    return _table(MODELS, publication, [row])


def _table(target: Target, publication: Publication, rows: list[dict[str, object]]) -> pa.Table:
    kinds = {**target.key, **target.others}
    fields: schemas.Fields = [(name, KINDS.get(kind, pa.string())) for name, kind in kinds.items()]
    named = [{name: row.get(name) for name in kinds} | {"model": publication.config.model} for row in rows]
    return pa.Table.from_pylist(named, schema=pa.schema(fields))
