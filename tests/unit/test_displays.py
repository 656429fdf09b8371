"""What a notebook shows of an object is what people want to know of it, not all of its fields."""

from __future__ import annotations

from pathlib import Path

import pytest
from desk import Desk

import sli


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path, None)  # type: ignore[arg-type]
    desk.configure(slice_by=[[], ["site"]])
    desk.predictions(site=["A", "B"] * 3)
    desk.feedback()
    return desk


def shown(value: object) -> str:
    [(kind, text)] = value._repr_mimebundle_(include=None, exclude=None).items()  # type: ignore[attr-defined]
    assert kind == "text/plain"
    return str(text)


def test_a_plan_and_an_outcome_say_what_is_done(desk: Desk) -> None:
    assert shown(sli.plan(desk.config, as_of="2024-02-01")) == (
        "plan as of 2024-02-01T00:00Z: hours to recompute: 1 of 1; first run: predictions, first run: feedback"
    )
    outcome = sli.run(desk.config, as_of="2024-02-01")
    assert shown(outcome).startswith(f"published {outcome.run_id} in ")
    assert shown(outcome).endswith(f" s: hours recomputed: 1, results changed: {outcome.changes.changed}")
    assert shown(sli.plan(desk.config, as_of="2024-02-01")) == "plan as of 2024-02-01T00:00Z: nothing to do"
    assert shown(sli.run(desk.config, as_of="2024-02-01")) == "nothing to publish"


def test_what_a_run_warns_of_is_shown_too(desk: Desk) -> None:
    (desk.root / "feedback/bad.parquet").write_text("not Parquet")
    outcome = sli.run(desk.config, as_of="2024-02-01")
    assert shown(outcome).splitlines()[1:] == [*outcome.warnings]


def test_answers_are_their_sentences(desk: Desk) -> None:
    sli.run(desk.config, as_of="2024-02-01")
    comparison = sli.compare(desk.config, "accuracy", {"site": ["A", "B"]})
    assert shown(comparison) == comparison.sentence
    verification = sli.verify(desk.config)
    assert shown(verification) == "\n".join(verification.lines())
