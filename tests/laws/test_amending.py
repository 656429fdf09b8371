"""Amending equals computing anew: tiles that gain what new rows change are, to the bit, those made from all rows."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from worlds import built_in, columns_of, config_of, pairs_of

import sli
from sli.loading import checked
from sli.tables import Store

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
    """All built-in SLIs of a task, or those that need only states of these kinds; each in a store of its own."""
    tree = config_of(task, built_in(task)) | {"store": str(folder / f"store-{bool(kinds)}"), "grains": ["hour", "day"]}
    for log in ("predictions", "feedback"):
        tree[log] = tree[log] | {"path": str(folder / log)}
    reference = folder / "reference.parquet"
    slis = [sli | ({"against": str(reference)} if isinstance(sli.get("against"), str) else {}) for sli in tree["slis"]]
    made = checked(tree | {"slis": slis, "folder": str(folder)})
    if kinds is None:
        return made
    chosen = [sli for sli, one in zip(slis, made.declared, strict=True) if kinds_of(one) <= kinds]
    return checked(tree | {"slis": chosen, "folder": str(folder)})


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
    afresh = config.model_copy(update={"store": str(folder / f"afresh-{as_of:%d%H%M}")})
    assert sli.run(afresh, as_of=str(as_of)).plan.news is None
    for table in TABLES:
        mine, theirs = rows_of(config, table), rows_of(afresh, table)
        assert mine.keys() == theirs.keys()
        for key, row in theirs.items():
            assert mine[key] == row, key


def again(rows, later, label):
    return rows.assign(known_at=rows.known_at + later, label=label)


@pytest.mark.parametrize("task", TASKS)
def test_first_labels_and_new_predictions_amend_every_state(task, tmp_path):
    predictions, known = logs_of(task)
    predictions.iloc[: len(predictions) // 3].to_parquet(tmp_path / "reference.parquet", index=False)
    middle = predictions.predicted_at.iloc[-200]
    write(tmp_path, "predictions", "old", predictions[predictions.predicted_at < middle])
    write(tmp_path, "feedback", "old", known[known.known_at < middle])
    chosen = config(task, tmp_path)
    assert sli.run(chosen, as_of=str(middle)).plan.news is None
    write(tmp_path, "predictions", "new", predictions[predictions.predicted_at >= middle])
    write(tmp_path, "feedback", "new", known[known.known_at >= middle])
    as_of = known.known_at.max() + SECOND
    outcome = sli.run(chosen, as_of=str(as_of))
    assert outcome.plan.news is not None
    assert set(chosen.kinds.values()) > INVERTIBLE
    check_equal(chosen, tmp_path, as_of)


@pytest.mark.parametrize("task", TASKS)
def test_what_replaces_older_rows_is_taken_away_exactly(task, tmp_path):
    predictions, known = logs_of(task)
    write(tmp_path, "predictions", "old", predictions)
    write(tmp_path, "feedback", "old", known)
    predictions.iloc[:9].to_parquet(tmp_path / "reference.parquet", index=False)
    chosen = config(task, tmp_path, INVERTIBLE)
    # Extremes and samples that lose what they hold do not tell what is left: these tiles are made anew.
    tried = [chosen, *([config(task, tmp_path)] if task == "regression" else [])]
    as_of = known.known_at.max() + SECOND
    for each in tried:
        sli.run(each, as_of=str(as_of))
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
    outcomes = [sli.run(each, as_of=str(as_of)) for each in tried]
    assert outcomes[0].plan.news is not None
    assert {each.change for each in outcomes[0].revised.select(["change"]).to_pandas().itertuples()} >= {"changed"}
    for each in tried:
        check_equal(each, tmp_path, as_of)
