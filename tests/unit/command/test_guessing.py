"""What `sli init` sees in single fields: dotted names, units, formats, spellings, labels, ids and scores."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sli.command.guessing.choose import Guess
from sli.command.guessing.classes import is_positive, labels_of, speaks, spelled
from sli.command.guessing.fields import Field, fields_of
from sli.command.guessing.ids import choose_ids, divider_of, joining
from sli.command.guessing.sample import Sample, look
from sli.command.guessing.scores import choose_scores
from sli.command.guessing.slices import conditions, slice_names
from sli.command.guessing.times import FORMATS, clock_of, fits
from sli.errors import InputError

N = 40


def field(values: list[Any], name: str = "x") -> Field:
    return Field(name, pa.array(values))


def sample(**columns: list[Any]) -> Sample:
    fields = {each.name: each for each in fields_of(pa.table({name: pa.array(v) for name, v in columns.items()}))}
    return Sample("predictions", ("p",), "p/a.parquet", {}, fields, 0)


def test_fields_of_structs_maps_and_json_texts_have_dotted_names() -> None:
    deep = {"score": 0.5, "user": {"id": "u1", "odd key": 1, "tags": ["a"]}, "probs": [0.1, 0.9], "age": None}
    rows = pa.table(
        {
            "plain": [1],
            "output": pa.array([{"score": 0.5, "model": {"name": "m"}}]),
            "extra": pa.array([[("country", "NL")]], pa.map_(pa.string(), pa.string())),
            "payload": [json.dumps(deep)],
            "texts": pa.array([["a", "b"]]),
            "coded": pa.array(["a"]).dictionary_encode(),
            "raw": [b"x"],
            "__index_level_0__": [0],
        }
    )
    names = [each.name for each in fields_of(rows)]
    assert names == [
        "plain",
        "output.score",
        "output.model.name",
        "extra.country",
        "payload.score",
        "payload.user.id",
        "payload.probs",
        "coded",
    ]


def test_a_field_of_json_knows_its_sql_and_its_type() -> None:
    rows = pa.table({"payload": ['{"n": 1, "who": {"is": "a"}}', None, '{"n": 2.5}', '{"n": null}']})
    n, who = fields_of(rows)
    assert (n.kind, n.values.to_pylist(), n.sql) == (pa.float64(), [1.0, None, 2.5, None], "(payload ->> '$.n')")
    assert (who.name, who.counts, who.sql) == ("payload.who.is", {"a": 1}, "(payload ->> '$.who.is')")


def test_texts_that_only_look_like_json_stay_texts() -> None:
    rows = pa.table({"note": ["{not json", "{neither"], "list": ["[1]", "[2]"]})
    assert [each.name for each in fields_of(rows)] == ["note"]


@pytest.mark.parametrize(("name", "sql"), [("fare", "fare"), ("Total fare", '"Total fare"'), ("order", '"order"')])
def test_names_are_quoted_in_sql_where_they_must_be(name: str, sql: str) -> None:
    assert field([1], name).sql == sql


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)])
def test_the_unit_of_an_epoch_is_told_by_where_its_values_lie(unit: str, factor: int) -> None:
    clock = clock_of(field([946_684_800 * factor, 4_102_444_799 * factor], "ts"))
    assert clock is not None
    assert clock.setting == {"column": "ts", "unit": unit}
    assert [str(each) for each in clock.instants.dt.year] == ["2000", "2099"]
    assert clock_of(field([946_684_799 * factor])) is None
    assert clock_of(field([4_102_444_800 * factor])) is None


def test_seconds_with_a_fraction_are_an_epoch_and_only_a_fitting_name_makes_them_sure() -> None:
    clock, other = clock_of(field([1709251200.25, None], "sent_at")), clock_of(field([1709251200], "phone"))
    assert clock is not None
    assert other is not None
    assert (clock.setting, clock.is_sure, other.is_sure) == ({"column": "sent_at", "unit": "s"}, True, False)


@pytest.mark.parametrize(
    ("texts", "form", "checked"),
    [
        (["2024-03-01", "2024-03-02 10:00", "2024-03-02T10:00:00.5Z", "2024-03-02 10:00:00+01:00"], "", False),
        (["31/01/2024 10:00", "01/02/2024 11:00"], "%d/%m/%Y %H:%M", False),
        (["01/31/2024 10:00", "02/01/2024 11:00"], "%m/%d/%Y %H:%M", False),
        (["01/02/2024 10:00", "02/02/2024 11:00"], "%d/%m/%Y %H:%M", True),
        (["02/01/2024 10:00", "02/02/2024 11:00"], "%m/%d/%Y %H:%M", True),
        (["20240131", "20240201"], "%Y%m%d", False),
        (["20240131T101500"], "%Y%m%dT%H%M%S", False),
        (["31-Jan-2024 10:00:00"], "%d-%b-%Y %H:%M:%S", False),
        (["01/31/2024 11:59:59 PM"], "%m/%d/%Y %I:%M:%S %p", False),
        (["2024-01-31 10:15:00,123"], "%Y-%m-%d %H:%M:%S,%f", False),
        (["31/Jan/2024:10:15:00 +0100"], "%d/%b/%Y:%H:%M:%S %z", False),
        (["2024-01-15 10:05 PM"], "%Y-%m-%d %I:%M %p", False),
        (["2024-01-15 10:05:30 GMT"], "%Y-%m-%d %H:%M:%S %Z", False),
        (["Mon, 15 Jan 2024 10:05:30 GMT"], "%a, %d %b %Y %H:%M:%S %Z", False),
    ],
)
def test_texts_are_times_by_iso_or_by_the_format_that_fits_all(texts: list[str], form: str, checked: bool) -> None:
    clock = clock_of(field(texts, "t"))
    assert clock is not None
    assert clock.format == form
    assert ("fits as well" in clock.check) == checked


@pytest.mark.parametrize("values", [["monday"], ["2024-13-01x"], ["31/31/2024"], [0.5], [True], [], [None]])
def test_other_values_are_no_times(values: list[Any]) -> None:
    assert clock_of(field(values, "t")) is None


@pytest.mark.parametrize(
    ("text", "naive"),
    [
        ("2024-01-31 10:15", True),
        ("2024-01-31T10:15Z", False),
        ("31/01/2024", True),
        ("31/Jan/2024:10:15:00 +0100", False),
        ("2024-01-15 10:05:30 GMT", False),
    ],
)
def test_texts_without_a_zone_are_naive(text: str, naive: bool) -> None:
    clock = clock_of(field([text], "t"))
    assert clock is not None
    assert clock.is_naive == naive


@pytest.mark.parametrize(
    "moment", [datetime(2024, 3, 5, 4, 7, 9, 1, tzinfo=UTC), datetime(2031, 12, 31, 23, tzinfo=UTC)]
)
def test_each_format_fits_its_own_texts(moment: datetime) -> None:
    wanting = []
    for form in FORMATS:
        text = moment.strftime(form)
        wanting += [(form, t) for t in (text, text.lower(), text.replace(" 0", "  ")) if not fits(form, [t])]
    assert wanting == []


def test_types_of_times_are_times() -> None:
    clock = clock_of(field([date(2024, 1, 1)], "day"))
    assert clock is not None
    assert clock.setting == "day"


@pytest.mark.parametrize(
    ("word", "positive"),
    [
        ("Yes", True), ("TRUE", True), ("1", True), ("fraud", True), ("high risk", True), ("no", False), ("0", False),
        ("-1", False), ("not fraud", False), ("non-fraud", False), ("on_time", False), ("On Time", False),
        ("cat", None), ("A", None),
    ],
)  # fmt: skip
def test_words_of_labels_are_known_in_any_spelling(word: str, positive: bool | None) -> None:
    assert is_positive(word) is positive


@pytest.mark.parametrize(
    ("counts", "positive", "negative", "says"),
    [
        ({"yes": 3, "no": 9}, ("yes",), ("no",), "is yes positive?"),
        ({"Y": 3, "y": 1, "N": 9}, ("Y", "y"), ("N",), "is Y, y positive?"),
        ({"fraud": 3, "customer": 9}, ("fraud",), ("customer",), "is fraud positive?"),
        ({"ok": 3, "stolen": 1}, ("stolen",), ("ok",), "is stolen positive?"),
        ({"fraud": 3, "ok": 9, "pending": 2}, ("fraud",), ("ok",), "pending: neither, so set aside"),
        ({"B": 9, "A": 3}, ("A",), ("B",), "It is the rarer one"),
        ({1: 3, 2: 9}, (1,), (2,), "is 1 positive?"),
        ({1: 3, -1: 9}, (1,), (-1,), "is 1 positive?"),
        ({"1.0": 9, "0.0": 3}, ("1.0",), ("0.0",), "is 1.0 positive?"),
        ({"1": 9, "0": 3}, ("1",), ("0",), "is 1 positive?"),
        ({"20": 9, "10.0": 3}, ("20",), ("10.0",), "It is the larger one"),
        ({"reject": 9, "approve": 3}, ("reject",), ("approve",), "is reject positive?"),
    ],
)
def test_of_labels_the_known_word_or_the_rarer_one_is_positive(
    counts: dict[Any, int], positive: tuple[Any, ...], negative: tuple[Any, ...], says: str
) -> None:
    labels = labels_of(counts)
    assert (labels.positive, labels.negative) == (positive, negative)
    assert says in labels.check


@pytest.mark.parametrize(
    ("values", "so"),
    [(["yes", "no"], True), (["fraud", "customer"], True), (["a", "b"], False), (["yes", "a, b", "no"], True),
     (["yes"], False), (["north", "south"], False)],
)  # fmt: skip
def test_labels_speak_if_a_word_of_them_is_known(values: list[str], so: bool) -> None:
    assert speaks(values) is so


def test_spellings_differ_in_capitals_blanks_and_dashes() -> None:
    assert spelled({"Big dog": 2, "big-dog": 1, "CAT": 1}) == {"big dog": ["Big dog", "big-dog"], "cat": ["CAT"]}


@pytest.mark.parametrize("texts", [False, True])
def test_fields_that_no_path_can_name_have_sql(texts: bool) -> None:
    value = '{"y": 0.5, "n": 1}' if texts else {"y": 0.5, "n": 1}
    y, n = fields_of(pa.table({"out put": [value]}))
    if texts:
        assert (y.setting, n.text) == (
            {"sql": "TRY_CAST((\"out put\" ->> '$.y') AS DOUBLE)"},
            "(TRY_CAST((\"out put\" ->> '$.n') AS BIGINT))",
        )
    else:
        assert (y.setting, n.text) == ({"sql": '"out put".y'}, '("out put".n)')
    [inner] = fields_of(pa.table({"out": [{"body": '{"who": {"y": 1}}'}]}))
    assert (inner.name, inner.expression, inner.sql) == ("out.body.who.y", "", "(out.body ->> '$.who.y')")
    [dotted] = fields_of(pa.table({"a.b": [{"y": 1}]}))
    assert dotted.sql == '"a.b".y'


def together() -> dict[str, list[Any]]:
    return {
        "a": [i % 4 for i in range(N)],
        "b": [str(i // 4 % 5) for i in range(N)],
        "c": ["mn"[i // 20] for i in range(N)],
    }


def test_three_fields_that_only_together_divide_the_rows_are_the_id() -> None:
    both = sample(**together()), sample(**together())
    ids = choose_ids(*both, ((), ()), False)
    assert ids.guess("predictions").value == ["a", "b", "c"]
    assert "together divide the rows" in ids.guess("feedback").check
    repeated = {name: values[:4] * (N // 4) for name, values in together().items()}
    with pytest.raises(InputError, match="can be its id") as raised:
        choose_ids(sample(**repeated), sample(**repeated), ((), ()), False)
    assert "up to 3 that together divide the rows" in raised.value.expected


def test_ids_of_one_name_are_compared_as_text_if_only_one_log_has_texts() -> None:
    numbers, texts = list(range(N)), [str(i) for i in range(N)]
    for made, known in ((numbers, texts), (texts, numbers)):
        ids = choose_ids(sample(request=made), sample(request=known), ((), ()), False)
        assert ids.guess("feedback").value == {"column": "request", "type": "text"}
        assert "no id of the same name" not in ids.checks[0]


def test_decimal_ids_are_read_as_whole_numbers() -> None:
    whole = [Decimal(i) for i in range(N)]
    ids = choose_ids(sample(id=whole), sample(id=whole), ((), ()), False)
    assert ids.guess("predictions") == Guess("(id::BIGINT)")


def test_ids_that_no_row_of_the_other_log_has_are_to_be_checked() -> None:
    made, known = sample(id=[f"u{i}" for i in range(N)]), sample(id=[f"z{i}" for i in range(N)])
    ids = choose_ids(made, known, ((), ()), False)
    assert joining(ids).guess("feedback").check.startswith("none of the 40 ids that were looked at is among the 40")
    assert joining(choose_ids(made, made, ((), ()), False)).guess("feedback").check == ""


def test_ids_that_repeat_for_each_model_are_divided_by_it() -> None:
    ids, models = [f"r{i // 2}" for i in range(N)], ["a", "b"] * (N // 2)
    log = sample(id=ids, model=models, region=models)
    divider = divider_of(log, log.fields["id"])
    assert divider is not None
    assert divider.name == "model"
    alone = sample(id=[f"r{i}" for i in range(N)], model=models)
    assert divider_of(alone, alone.fields["id"]) is None
    repeated = sample(id=ids, model=["a", "a", "b", "b"] * (N // 4))
    assert divider_of(repeated, repeated.fields["id"]) is None


def test_scores_are_sure_only_if_the_largest_is_that_of_the_predicted_class() -> None:
    lists = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6]]
    log = sample(said=["dog", "cat", "lynx"], scores=lists)
    scores = choose_scores(log, log.fields["said"], ["cat", "dog", "lynx"])
    assert scores is not None
    assert (scores.setting, scores.sure, scores.classes) == ("scores", True, ("dog", "cat", "lynx"))
    log = sample(said=["dog", "dog", "lynx"], scores=lists)
    scores = choose_scores(log, log.fields["said"], ["cat", "dog", "lynx"])
    assert scores is not None
    assert (scores.sure, scores.classes) == (False, ("cat", "dog", "lynx"))
    columns = {f"y_pred_proba_{name}": [row[at] for row in lists] for at, name in enumerate(["dog", "cat", "lynx"])}
    log = sample(said=["dog", "cat", "lynx"], **columns)
    scores = choose_scores(log, log.fields["said"], ["cat", "dog", "lynx"])
    assert scores is not None
    assert scores.sure
    assert scores.setting == {name: f"y_pred_proba_{name}" for name in ("cat", "dog", "lynx")}


def test_json_free_text_and_many_values_are_no_slices() -> None:
    log = sample(
        region=["north", "south"] * (N // 2),
        note=["the customer said at great length that nothing of this was of any use to anybody at all", "no"]
        * (N // 2),
        user=[f"u{i // 2}" for i in range(N)],
        payload=['{"a": 1}'] * N,
        version=["v1"] * N,
    )
    assert slice_names(log, set()) == ["region", "version"]


def test_conditions_are_offered_for_fields_that_say_which_rows_are_meant() -> None:
    log = sample(
        environment=["prod"] * 30 + ["dev's"] * 10, is_shadow=[False] * 39 + [True], colour=["red", "blue"] * 20
    )
    assert [(each.value, each.check) for each in conditions(log, set())] == [
        ("environment = 'prod'", "only such rows? environment is prod 75%, dev's 25%"),
        ("NOT is_shadow", "only such rows? is_shadow is False 98%, True 2%"),
    ]


def test_a_column_with_types_of_two_kinds_becomes_texts(tmp_path: Path) -> None:
    for name, ids in (("a", [1, 2]), ("b", ["3", None]), ("c", [4.0, None])):
        pq.write_table(pa.table({"id": ids, "score": [0.5, 0.5]}), tmp_path / f"{name}.parquet")
    log = look("predictions", [str(tmp_path)])
    assert log.fields["id"].values.to_pylist() == ["1", "2", "3", None, "4", None]
    assert log.fields["id"].mixed
    assert not log.fields["score"].mixed


def test_columns_of_the_paths_are_fields_with_all_their_values(tmp_path: Path) -> None:
    for day in range(30):
        for model in ("a", "b%20c"):
            folder = tmp_path / f"day={day}/model={model}"
            folder.mkdir(parents=True)
            pq.write_table(pa.table({"x": [day]}), folder / "a.parquet")
    log = look("predictions", [str(tmp_path)])
    assert (log.fields["day"].total, log.fields["model"].total, log.fields["model"].hive) == (30, 2, True)
    assert set(log.fields["model"].counts) == {"a", "b c"}
