"""Amending equals recomputing: amended tiles have the same bits as tiles computed from all rows."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from builders import small_world
from deltalake import DeltaTable, write_deltalake
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, text
from worlds import built_in, columns_of, config_of, fewest, pairs_of

import sli
from sli.config.load import checked
from sli.config.sections import StoreSection
from sli.publishing.store import Store

TASKS = ("binary", "multiclass", "regression")
INVERTIBLE = {"count", "sum", "histogram", "groups"}
TABLES = {"tiles": ["span", "start", "slice_by", "slice"], "days": ["day", "span", "slice_by", "slice"]}
SECOND = pd.Timedelta(seconds=1)


@cache
def logs_of(task):
    """Both logs of a world, the feedback of usual labels alone: one in fifty is a withdrawal."""
    pairs = pairs_of(task)
    known = pairs[pairs.labelled][["output_id", "known_at", "label"]]
    if task == "binary":
        known = known.assign(label=known.label.astype(float))
    return pairs[columns_of(task)].sort_values("predicted_at"), known.sort_values("known_at")


def config(task, folder, kinds=None):
    """Built-in SLIs that need every state of a task, or every one of these kinds; each in a store of its own."""
    tree = config_of(task, built_in(task)) | {"store": str(folder / f"store-{bool(kinds)}"), "grains": ["day"]}
    for log in ("predictions", "feedback"):
        tree[log] = tree[log] | {"path": str(folder / log)}
    reference = folder / "reference.parquet"
    slis = [sli | ({"against": str(reference)} if isinstance(sli.get("against"), str) else {}) for sli in tree["slis"]]
    every = checked(tree | {"slis": slis, "folder": str(folder)}).declared
    pairs = [pair for pair in zip(slis, every, strict=True) if kinds is None or kinds_of(pair[1]) <= kinds]
    return checked(tree | {"slis": fewest(*zip(*pairs, strict=True)), "folder": str(folder)})


def kinds_of(sli):
    return {state.kind for state in sli.formula.states.values()}


def write(folder, log, name, rows):
    (folder / log).mkdir(exist_ok=True)
    rows.to_parquet(folder / log / f"{name}.parquet", index=False)


def rows_of(config, table):
    """All rows of a table by their key, but for what tells of the run."""
    store = Store(config.store)
    rows = store.rows(table, store.published())
    names = [name for name in rows.schema.names if name not in ("run_id", "as_of", "month")]
    return {tuple(str(row[key]) for key in TABLES[table]): row for row in rows.select(names).to_pylist()}


def check_equal(config, folder, as_of):
    """The stored tiles are those of a run from nothing."""
    afresh = config.model_copy(update={"stored": StoreSection(path=str(folder / f"afresh-{as_of:%d%H%M}"))})
    assert sli.run(afresh, as_of=str(as_of)).plan.new_rows is None
    for table in TABLES:
        amended, recomputed = rows_of(config, table), rows_of(afresh, table)
        assert amended.keys() == recomputed.keys()
        for key, row in recomputed.items():
            assert amended[key] == row, key


def again(rows, later, label):
    return rows.assign(known_at=rows.known_at + later, label=label)


@pytest.mark.parametrize("task", TASKS)
def test_first_labels_and_new_predictions_amend_every_state(task, tmp_path):
    predictions, known = logs_of(task)
    predictions.iloc[: len(predictions) // 3].to_parquet(tmp_path / "reference.parquet", index=False)
    middle = predictions.predicted_at.iloc[-200]
    write(tmp_path, "predictions", "old", predictions[predictions.predicted_at < middle])
    write(tmp_path, "feedback", "old", known[known.known_at < middle])
    whole = config(task, tmp_path)
    assert sli.run(whole, as_of=str(middle)).plan.new_rows is None
    write(tmp_path, "predictions", "new", predictions[predictions.predicted_at >= middle])
    write(tmp_path, "feedback", "new", known[known.known_at >= middle])
    as_of = known.known_at.max() + SECOND
    outcome = sli.run(whole, as_of=str(as_of))
    assert outcome.plan.new_rows is not None
    assert {state.kind for state in whole.states.values()} > INVERTIBLE
    check_equal(whole, tmp_path, as_of)


@pytest.mark.soak
@pytest.mark.parametrize("task", TASKS)
def test_what_replaces_older_rows_is_taken_away_exactly(task, tmp_path):
    predictions, known = logs_of(task)
    write(tmp_path, "predictions", "old", predictions)
    write(tmp_path, "feedback", "old", known)
    predictions.iloc[:9].to_parquet(tmp_path / "reference.parquet", index=False)
    invertible = config(task, tmp_path, INVERTIBLE)
    # Extremes and samples cannot be subtracted, so these tiles are recomputed.
    configs = [invertible, *([config(task, tmp_path)] if task == "regression" else [])]
    as_of = known.known_at.max() + SECOND
    for config_of_store in configs:
        sli.run(config_of_store, as_of=str(as_of))
    some, random = known.iloc[::9], np.random.default_rng(3)
    shuffled = random.permutation(some.label.to_numpy())
    corrections = [again(some, SECOND, shuffled), again(some.iloc[::3], 2 * SECOND, some.label.iloc[::3])]
    corrections.append(again(known.iloc[1::40], SECOND, None).astype(known.dtypes))
    orphans = some.head(4).assign(output_id=[f"nobody{i}" for i in range(4)])
    write(tmp_path, "feedback", "new", pd.concat([*corrections, orphans]))
    doubles = predictions.iloc[5::30]
    earlier = doubles.iloc[::2].assign(predicted_at=doubles.predicted_at.iloc[::2] - pd.Timedelta(minutes=40))
    later = doubles.iloc[1::2].assign(predicted_at=doubles.predicted_at.iloc[1::2] + pd.Timedelta(minutes=40))
    write(tmp_path, "predictions", "new", pd.concat([earlier, later]))
    as_of += 3 * SECOND
    outcomes = [sli.run(config_of_store, as_of=str(as_of)) for config_of_store in configs]
    assert outcomes[0].plan.new_rows is not None
    assert {row.change for row in outcomes[0].revised.select(["change"]).to_pandas().itertuples()} >= {"changed"}
    for config_of_store in configs:
        check_equal(config_of_store, tmp_path, as_of)


MONDAY = at("2024-01-15T00:00")
TEN = MONDAY + 10 * HOUR
WORLD = small_world(horizon=20 * DAY, grains=("hour", "day", "cumulative"))


def small(folder, settings=None, **changes):
    """A prediction `a`, feedback for nobody; the first run is done."""
    s = Scenario(folder, replace(WORLD, **changes), settings or {})
    slices = {column: "x" for by in s.world.slice_by for column in by}
    s.log_predictions("p.parquet", [Prediction("a", TEN, 0.9, slices)])
    s.log_feedback("f.parquet", [Feedback("nobody", TEN, 1.0)])
    s.run(TEN + HOUR)
    return s


def amends(s, as_of):
    outcome = s.run(as_of)
    assert outcome.plan.new_rows is not None
    return outcome


def test_keys_are_not_taken_for_written_by_a_run_without_new_rows(tmp_path):
    s = small(tmp_path)
    (tmp_path / "feedback" / "bad.parquet").write_bytes(b"no Parquet")
    assert amends(s, TEN + DAY).published
    (tmp_path / "feedback" / "bad.parquet").unlink()
    s.run(TEN + DAY)
    s.log_feedback("late.parquet", [Feedback("a", TEN + HOUR, 1.0)])
    amends(s, TEN + 2 * DAY)
    s.check(TEN + 2 * DAY)


def test_local_times_of_a_zone_with_clock_changes_are_keyed(tmp_path):
    s = small(tmp_path, zone="America/New_York", since=at("2024-01-14T05:00"))

    def log(kind, name, at, ids, times, **columns):
        stamps = pd.to_datetime(pd.Series(times))
        write(tmp_path, kind, name, pd.DataFrame({"output_id": ids, at: stamps, **columns}))

    log("predictions", "p", "predicted_at", ["a", "b", "c"], ["2024-03-10T01:30", "2024-03-10T03:30", None], score=0.9)
    log("feedback", "f", "known_at", ["d", "e"], ["2024-03-10T03:31", "2600-01-01T00:00"], label=1)
    s.run(at("2024-03-11T00:00"))
    log(
        "feedback",
        "g",
        "known_at",
        ["a", "b", "e"],
        ["2024-03-10T03:01", "2024-03-10T04:31", "2024-03-10T03:02"],
        label=1,
    )
    as_of = pd.Timestamp("2024-03-12", tz="UTC")
    assert sli.run(s.config, as_of=str(as_of)).plan.new_rows is not None
    check_equal(s.config, tmp_path, as_of)


def test_rows_before_1970_are_found_by_their_keys(tmp_path):
    s = small(tmp_path)
    early = at("1969-12-31T23:30")
    s.log_predictions("early.parquet", [Prediction("early", early, 0.9, {})])
    amends(s, TEN + DAY)
    s.log_feedback("late.parquet", [Feedback("early", early, 1.0)])
    amends(s, TEN + DAY)
    s.check(TEN + DAY)


def test_rows_before_1970_lie_in_their_own_hour(tmp_path):
    s = Scenario(tmp_path, replace(WORLD, since=at("1969-12-30T00:00")))
    first, later = at("1969-12-30T10:17"), at("1969-12-31T23:59")
    rows = [Prediction("a", first, 0.9, {}), Prediction("b", first + HOUR, 0.1, {}), Prediction("a", later, 0.2, {})]
    s.log_predictions("early.parquet", rows)
    s.log_feedback("early.parquet", [Feedback("a", first + HOUR, 1.0), Feedback("c", later, 1.0)])
    as_of = at("1970-01-02T00:00")
    s.run(as_of)
    s.check(as_of)
    s.log_feedback("late.parquet", [Feedback("b", first + 2 * HOUR, 0.0)])
    amends(s, as_of)
    s.check(as_of)


def test_states_of_a_column_of_numbers_are_made_where_no_row_was_known_before(tmp_path):
    cost = {"name": "cost", "states": {"cost": "sum(amount * 2)"}, "value": "cost / predictions"}
    source = {"id": "output_id", "time": "predicted_at", "value": "score", "columns": ["amount"]}
    settings = {"slis": [cost], "predictions": source | {"path": str(tmp_path / "predictions")}}
    s = Scenario(tmp_path, replace(WORLD, horizon=2 * DAY), settings)
    for i in range(2):
        times = pd.to_datetime([text(TEN + i * HOUR)])
        rows = {"output_id": [f"{i}"], "predicted_at": times, "score": 0.9, "amount": 1.5 + i}
        write(tmp_path, "predictions", f"{i}", pd.DataFrame(rows))
        s.run(TEN + DAY)
    s.log_feedback("orphan.parquet", [Feedback("nobody", TEN, 1.0)])
    amends(s, TEN + DAY)
    check_equal(s.config, tmp_path, pd.Timestamp(text(TEN + DAY)))
    # The same for recomputed hours without rows in any file of predictions.
    s.log_feedback("later.parquet", [Feedback("nobody", TEN + 5 * DAY, 1.0)])
    assert s.run(TEN + 6 * DAY, look_back="9d").plan.new_rows is None
    check_equal(s.config, tmp_path, pd.Timestamp(text(TEN + 6 * DAY)))


def test_the_first_files_of_a_log_that_was_empty_amend(tmp_path):
    s = Scenario(tmp_path, WORLD)
    s.log_predictions("p.parquet", [Prediction("a", TEN, 0.9, {})])
    (tmp_path / "feedback").mkdir(exist_ok=True)
    s.run(TEN + HOUR)
    s.log_feedback("f.parquet", [Feedback("a", TEN + HOUR, 1.0)])
    amends(s, TEN + DAY)
    s.check(TEN + DAY)


def test_a_new_sli_is_computed_where_new_files_reach_every_hour(tmp_path):
    s = small(tmp_path)
    s.world = replace(s.world, slis=("accuracy", "log_loss"))
    s.log_predictions("q.parquet", [Prediction("b", TEN + 1, 0.1, {})])
    s.run(TEN + DAY)
    s.check(TEN + DAY)


def test_new_slices_that_wait_for_held_hours_are_not_made_of_some_hours(tmp_path):
    s = small(tmp_path, slice_by=((), ("a", "b")), horizon=HOUR)
    s.run(TEN + 2 * DAY)
    s.log_feedback("late.parquet", [Feedback("a", TEN + 1, 1.0)])
    assert s.run(TEN + 2 * DAY).plan.held
    s.world = replace(s.world, slice_by=((), ("a", "b"), ("b",)))
    s.log_predictions("q.parquet", [Prediction("b", TEN + 2 * DAY, 0.9, {"a": "x", "b": "x"})])
    amends(s, TEN + 2 * DAY)
    assert set(sli.read(s.config).slice_by) == {(), ("a", "b")}


def test_a_final_hour_is_held_only_if_its_tiles_would_change(tmp_path):
    s = small(tmp_path, {"slis": [{"name": "worst", "states": {"w": "max(prediction - label::INT)"}, "value": "w"}]})
    s.log_predictions("q.parquet", [Prediction("b", TEN, 0.1, {})])
    s.log_feedback("g.parquet", [Feedback(id, TEN, 0.0) for id in "ab"])
    s.run(TEN + 30 * DAY)
    s.log_feedback("late.parquet", [Feedback("b", TEN + 1, 0.0)])
    assert not amends(s, TEN + 30 * DAY).plan.held
    check_equal(s.config, tmp_path, pd.Timestamp(text(TEN + 30 * DAY)))
    s.log_feedback("later.parquet", [Feedback("a", TEN + 1, 1.0)])
    assert s.run(TEN + 30 * DAY).plan.held


def test_files_that_hold_a_column_no_longer_asked_for_do_not_end_amending(tmp_path):
    s = small(tmp_path, slice_by=(("a",), ("b",)))
    s.world = replace(s.world, slice_by=(("a",),))
    s.log_predictions("q.parquet", [Prediction("b", TEN, 0.9, {"a": "x"})])
    amends(s, TEN + DAY)
    s.check(TEN + DAY)


def test_keys_that_a_killed_run_replaced_are_not_looked_up(tmp_path):
    s = small(tmp_path)
    s.log_feedback("g.parquet", [Feedback("nobody", TEN, 0.0)])
    amends(s, TEN + DAY)
    table = DeltaTable(f"{s.config.store}/keys")
    write_deltalake(table, table.to_pyarrow_table().slice(0, 0), mode="overwrite")
    s.log_feedback("late.parquet", [Feedback("a", TEN + HOUR, 1.0)])
    amends(s, TEN + DAY)
    s.check(TEN + DAY)
