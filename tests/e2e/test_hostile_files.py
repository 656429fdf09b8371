"""A corpus of hostile files: each is set aside for its true reason and counted, or read in full; no other file notices.

One run takes all of them at once, each in a folder of its own by which results are sliced. By hand each runs alone.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from corpus import contents, damage, kinds, names
from corpus.cases import CASES, LOGS, Case, N, Read, rows
from corpus.outcomes import AS_OF, Told, config, named, tell

import sli

PARTS = (contents, damage, kinds, names)
"""The modules that add the cases."""
NULLS = ("values of null", "values of the null type")
EACH = [(case, log) for case in CASES.values() for log in LOGS if case.outcome(log) is not None]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return tell(tmp_path_factory.mktemp("hostile"), CASES)


@pytest.fixture(scope="module")
def untroubled(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The results of the good files alone."""
    return tell(tmp_path_factory.mktemp("good"), []).good


def ids(value: object) -> str:
    return ascii(value.name) if isinstance(value, Case) else str(value)


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 150


@pytest.mark.parametrize(("case", "log"), EACH, ids=ids)
def test_a_hostile_file_is_set_aside_for_its_true_reason_or_read_in_full(told: Told, case: Case, log: str) -> None:
    fate, outcome = told.fates[case.name, log], case.outcome(log)
    assert outcome is not None
    assert fate.meets(outcome), f"{fate}, not {outcome}"


def test_good_files_beside_hostile_ones_give_the_same_results_to_the_bit(told: Told, untroubled: pd.DataFrame) -> None:
    assert len(untroubled) == 8
    pd.testing.assert_frame_equal(told.good, untroubled, check_exact=True)


def test_no_row_of_the_logs_is_lost_without_a_count(told: Told) -> None:
    """Each feedback of a prediction that does not count is an orphan, each null takes a label back, and that is all."""
    orphans = sum(N - _read(case, "predictions") for case, log in EACH if log == "predictions")
    withdrawn = sum(N for case, log in EACH if log == "feedback" and case.name in NULLS)
    assert told.of_logs["feedback"] == Counter({"orphan": orphans, "withdrawn": withdrawn})
    assert told.of_logs["predictions"] == Counter()


def _read(case: Case, log: str) -> int:
    outcome = case.outcome(log)
    return outcome.rows if isinstance(outcome, Read) else 0


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES.values(), ids=ids)
def test_a_hostile_file_alone_fares_as_among_others(tmp_path: Path, case: Case, untroubled: pd.DataFrame) -> None:
    alone = tell(tmp_path, [case.name])
    for log in LOGS:
        if (outcome := case.outcome(log)) is not None:
            assert alone.fates[case.name, log].meets(outcome), alone.fates
    pd.testing.assert_frame_equal(alone.good, untroubled, check_exact=True)


@pytest.mark.soak
def test_ten_thousand_tiny_files_are_read_in_full(tmp_path: Path) -> None:
    many = 10_000
    for log in LOGS:
        (tmp_path / log / "case=many").mkdir(parents=True)
        whole = rows(log, "many", many)
        for number in range(many):
            pq.write_table(whole.slice(number, 1), tmp_path / log / f"case=many/{number}.parquet")
    path = config(tmp_path)
    sli.run(path, as_of=AS_OF)
    found = sli.read(path, grain="day", sli="count", slice={"case": "many"})
    assert (found.predictions.tolist(), found.labelled.tolist()) == ([many], [many])
    assert sli.read(path, table="audit").empty


def test_names_of_slices_do_not_meet() -> None:
    assert len({named(case.name, log) for case, log in EACH}) == len(EACH)
