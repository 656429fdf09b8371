"""Since when an SLI is worse, from a store: the first day, by final days only, or the reason why nothing is said."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from desk import ZONED, Desk

import sli
from sli.errors import ConfigError
from sli.judging.since_when import Since, since_when

FIRST = date(2024, 1, 15)
DAYS, DROP, PAIRS = 86, 66, 12
RIGHT = {"name": "right", "python": "right:right", "objective": ">= 0.5"}
COST = {"name": "cost", "states": {"wrong": "sum(CASE WHEN label <> decision THEN 1 ELSE 0 END)"}, "value": "wrong"}


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """86 days of twelve predictions at each of two sites: 10 or 11 are right, from day 66 on only 5 at site A."""
    desk = Desk(tmp_path_factory.mktemp("since"), None)  # type: ignore[arg-type]
    ids, times, sites, labels = [], [], [], []
    for number in range(DAYS):
        for site in "AB":
            right = 5 if site == "A" and number >= DROP else 10 + number % 2
            for i in range(PAIRS):
                ids.append(f"{site}{number}-{i}")
                times.append(datetime(2024, 1, 15, 9, tzinfo=UTC) + timedelta(days=number))
                sites.append(site)
                labels.append(int(i < right))
    desk.configure(
        slis=["accuracy", {"sli": "quantile", "q": 0.9}, {**COST, "objective": "<= 3"}, RIGHT],
        slice_by=[[], ["site"]],
        grains=["day"],
        horizon="1d",
    )
    (desk.root / "right.py").write_text("def right(y_true, y_pred):\n    return (y_true == y_pred).mean()\n")
    at = pa.array(times, ZONED)
    desk.predictions(output_id=ids, predicted_at=at, score=[0.9] * len(ids), site=sites)
    desk.feedback(output_id=ids, known_at=at, label=labels)
    sli.run(desk.config, as_of=f"{day(DAYS)}T12:00")
    return desk.config


@pytest.fixture(scope="module")
def found(published: Path) -> Since:
    return since_when(published, "accuracy", slice={"site": "A"})


def test_the_first_day_of_a_drop_that_lasts_is_told_with_what_it_was_before(found: Since) -> None:
    assert (found.first_day, found.reason, found.ended) == (day(DROP), None, ())
    assert found.baseline is not None
    assert (found.baseline.start, found.baseline.end, found.baseline.days) == (day(0), day(55), 56)
    assert found.value == pytest.approx(5 / 12)
    assert found.value_before == pytest.approx(10.5 / 12, abs=0.01)
    assert found.alarm_day is not None
    assert day(DROP) < found.alarm_day < day(DROP + 12)
    assert found.sentence.startswith(
        f"accuracy has been worse since {day(DROP)}: the mean of its {found.days} days is 0.4167"
    )


def test_only_final_days_count(found: Since) -> None:
    assert found.last_day == day(DAYS - 2), "the horizon of the last day has not passed"
    assert found.days == DAYS - 1 - DROP


def test_as_plain_values_it_is_json(found: Since) -> None:
    tree = json.loads(json.dumps(found.to_dict()))
    assert tree["first_day"] == day(DROP).isoformat()
    assert tree["baseline"]["days"] == 56


def test_a_slice_that_is_as_before_is_not_worse(published: Path) -> None:
    other = since_when(published, "accuracy", slice={"site": "B"})
    assert (other.first_day, other.days, other.reason) == (None, 0, None)
    assert other.sentence == (
        f"no lasting worsening found up to {day(DAYS - 2)}, the last final day; later days are not judged"
    )


def test_days_after_the_end_are_not_looked_at(published: Path) -> None:
    assert since_when(published, "accuracy", slice={"site": "A"}, end=day(DROP)).first_day is None


@pytest.mark.parametrize(
    ("name", "end", "reason"),
    [
        ("quantile", None, "quantile does not say which direction is better; give it an objective"),
        ("cost", None, "0 of the 85 final days with a value have an interval; 63 are needed"),
        ("right", None, "the days of a Python function have no interval"),
        ("accuracy", day(60), "too short: 60 final days with an interval; 63 are needed"),
        ("accuracy", day(0), "too short: 0 final days with an interval; 63 are needed"),
    ],
)
def test_what_cannot_be_said_has_its_reason(published: Path, name: str, end: date | None, reason: str) -> None:
    refused = since_when(published, name, end=end)
    assert (refused.first_day, refused.reason) == (None, reason)
    assert refused.sentence == reason


def test_a_slice_without_predictions_has_no_days(published: Path) -> None:
    reason = "too short: 0 final days with an interval; 63 are needed"
    assert since_when(published, "accuracy", slice={"site": "Z"}).reason == reason


def test_an_explanation_says_since_when_by_the_days_to_its_end(published: Path, found: Since) -> None:
    explained = sli.explain(published, "accuracy", slice={"site": "A"})
    assert explained.since == found
    assert re.fullmatch(rf"  Since when\?  +since {day(DROP)}  +{re.escape(found.sentence)}", explained.lines()[-1])
    assert json.loads(json.dumps(explained.to_dict()))["since"] == found.to_dict()
    earlier = sli.explain(published, "accuracy", slice={"site": "A"}, end=day(DROP)).since
    assert (earlier.answer, earlier.last_day) == ("not found", day(DROP - 1))


def test_an_sli_that_does_not_exist_is_an_error(published: Path) -> None:
    with pytest.raises(ConfigError, match="there is no SLI 'acuracy'"):
        since_when(published, "acuracy")


def test_slices_say_since_when_they_are_worse_or_that_it_cannot_be_said(published: Path) -> None:
    slices = sli.compare_slices(published, "accuracy")
    assert [slice["site"] for slice in slices["slice"]] == ["A", "B"]
    assert slices.since.tolist() == [day(DROP), None]
    assert slices.worsened.tolist() == [True, False]
