"""Random worlds of each task, and every built-in SLI with parameters to try: what the laws are tried on."""

import inspect
from functools import cache

import numpy as np
import pandas as pd
from twins import binary, drift, multiclass, operation, ranking, regression, values
from twins.common import nan

from sli.errors import ConfigError
from sli.slis import CATALOGUE
from sli.slis.formula import INJECTED

ZONE = "America/New_York"
SINCE = pd.Timestamp("2024-03-09", tz=ZONE)  # the clocks change on the 10th
CLASSES = ("a", "b", "c")
OWN_TWINS = {"binary": binary, "multiclass": multiclass, "regression": regression, "ranking": ranking}
COMMON_TWINS = (values, operation, drift)


def twins_of(task, name):
    """The module that holds the twin of an entry."""
    modules = [each for each in (OWN_TWINS[task], *COMMON_TWINS) if name in each.TWINS]
    assert modules, f"write the twin of {name}, from scikit-learn, SciPy or NumPy"
    return modules[0]


def twin_of(task, name):
    return twins_of(task, name).TWINS[name]


def parameters_of(task, name):
    """The parameters to try; those a task refuses are tried for the others."""
    found, module = [], twins_of(task, name)
    sets = getattr(module, "PARAMETERS", {}).get(name, [{}])
    if task == "multiclass":
        sets = getattr(module, "MULTICLASS", {}).get(name, sets)
    for given in sets:
        wanted = inspect.signature(CATALOGUE[task, name].make).parameters
        injected = {"classes": CLASSES, "scores": {each: f"p_{each}" for each in CLASSES}}
        try:
            CATALOGUE[task, name].make(**given, **{key: injected[key] for key in INJECTED if key in wanted})
        except ConfigError:
            assert task == "multiclass", f"{name} cannot be made with {given}"
            continue
        found.append(given)
    assert found
    return found


@cache
def series(task):
    """All built-in series of a task: by name the catalogue's name and the parameters."""
    found = {}
    for of, name in CATALOGUE:
        for i, parameters in enumerate(parameters_of(task, name) if of == task else []):
            found[f"{name}_{i}" if i else name] = (name, parameters)
    return found


def pairs_of(task):
    """Random pairs: few in most hours, more than a histogram or a sample keeps in one of them."""
    random = np.random.default_rng(7)
    hours = np.concatenate([[1, 25, 60], random.choice(np.arange(2, 90), 11, replace=False)])
    n = np.concatenate([[1700, 1, 2], random.integers(1, 60, 11)])
    hour = np.repeat(hours, n)
    size = len(hour)
    query = np.char.add(
        "q", np.cumsum(np.r_[True, (hour[1:] != hour[:-1]) | (random.random(size - 1) < 0.2)]).astype(str)
    )
    of_query = np.unique(query, return_inverse=True)[1] if task == "ranking" else np.arange(size)
    names = np.array(["north", "o'süd, x", "rare", None], dtype=object)
    region = random.choice(names, size, p=[0.55, 0.3, 0.05, 0.1])[of_query]
    unknown = (random.random(size) < 0.15)[of_query] | (region == "rare") & (hour > 40)
    made = pd.DataFrame({"output_id": [f"id{i}" for i in range(size)], "region": region, "query": query})
    made = pd.concat([made, WORLDS[task](random, size)], axis=1)
    made["label"] = made.label.mask(unknown, None if task == "multiclass" else nan)
    fare = np.where(random.random(size) < 0.1, nan, random.gamma(2, 1e3, size).round(random.integers(0, 3)))
    delay = random.integers(0, 3 * 86_400_000_000, size)
    micros = hour * 3_600_000_000 + random.integers(0, 3_600_000_000, size)[of_query]
    made["predicted_at"] = SINCE.tz_convert("UTC") + pd.to_timedelta(micros, unit="us")
    made = made.assign(fare=fare, kind=random.choice(["card", "cash", "coin"], size), labelled=made.label.notna())
    made["known_at"] = (made.predicted_at + pd.to_timedelta(delay, unit="us")).where(made.labelled)
    made["delay"] = np.where(made.labelled, delay / 1e6, nan)
    made["usable"] = made.labelled & made.prediction.notna()
    made["decision"] = None
    if task == "binary":
        made["decision"] = (made.prediction >= 0.5).astype("boolean").where(made.prediction.notna())
        made["label"] = (made.label == 1).astype("boolean").where(made.labelled)
    return made


def binary_world(random, size):
    score = np.where(random.random(size) < 0.3, random.choice([0, 0.25, 0.5, 0.51, 1], size), random.random(size))
    label = (random.random(size) < 0.2 + 0.5 * score).astype(float)
    return pd.DataFrame({"prediction": np.where(random.random(size) < 0.05, nan, score), "label": label})


def regression_world(random, size):
    score, label = random.normal(3, 20, size), random.normal(2, 30, size).round(1)
    return pd.DataFrame({"prediction": np.where(random.random(size) < 0.05, nan, score), "label": label})


def ranking_world(random, size):
    score = np.where(random.random(size) < 0.005, nan, random.permutation(size) / size)
    return pd.DataFrame({"prediction": score, "label": random.choice([0.0, 0.0, 1.0, 2.0], size)})


def multiclass_world(random, size):
    scores = random.dirichlet([1.2, 1, 0.6], size)
    label = np.array(CLASSES, dtype=object)[
        (random.random(size)[:, None] > scores.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    ]
    decided = np.array(CLASSES, dtype=object)[scores.argmax(axis=1)]
    prediction = np.where(random.random(size) < 0.05, None, decided)
    scores[np.random.default_rng(8).random(size) < 0.03, 1] = nan
    return pd.DataFrame(
        {"prediction": prediction, "label": label, **{f"p_{c}": scores[:, i] for i, c in enumerate(CLASSES)}}
    )


WORLDS = {
    "binary": binary_world,
    "multiclass": multiclass_world,
    "regression": regression_world,
    "ranking": ranking_world,
}


def columns_of(task):
    more = {"ranking": ["query"], "multiclass": [f"p_{each}" for each in CLASSES]}
    return ["output_id", "predicted_at", "prediction", "region", "fare", "kind", *more.get(task, [])]


def write_logs(folder, pairs, task):
    """A file a day, so that a small memory cuts the work into several tasks; one in fifty labels is a withdrawn one."""
    withdrawn = pairs[~pairs.labelled].iloc[::50]
    known = pairs[pairs.labelled][["output_id", "known_at", "label"]]
    if task == "binary":
        known = known.assign(label=known.label.astype(float))
    known = pd.concat([known, withdrawn.assign(known_at=withdrawn.predicted_at, label=None)[known.columns]])
    for log, rows, time in (("predictions", pairs[columns_of(task)], "predicted_at"), ("feedback", known, "known_at")):
        (folder / log).mkdir()
        for day, part in rows.groupby(rows[time].dt.date):
            part.to_parquet(folder / log / f"{day}.parquet", index=False)
    pairs[columns_of(task)].iloc[: len(pairs) // 3].to_parquet(folder / "reference.parquet", index=False)


def config_of(task, slis):
    """A config for such a world, its paths beside it."""
    predictions = {"path": "predictions", "id": "output_id", "time": "predicted_at", "value": "prediction"}
    if task == "ranking":
        predictions["query"] = "query"
    if task == "multiclass":
        predictions["scores"] = {each: f"p_{each}" for each in CLASSES}
    return {
        "model": f"laws-{task}",
        "timezone": ZONE,
        "since": "2024-03-09",
        "store": "results",
        "horizon": "7d",
        "task": task,
        **({"classes": list(CLASSES)} if task == "multiclass" else {}),
        "predictions": {**predictions, "columns": ["fare", "kind"]},
        "feedback": {"path": "feedback", "id": "output_id", "time": "known_at", "value": "label"},
        "slice_by": [[], ["region"]],
        "grains": ["hour", "day", "cumulative", {"size": "2d", "every": "1d"}],
        "slis": slis,
    }


def built_in(task):
    """The config's entries of every built-in series."""
    return [{"sli": sli, "name": name, **given} for name, (sli, given) in series(task).items()]


def fewest(entries, declared):
    """Those of a config's entries that together need every state of all of them, of every reference."""
    known, kept = set(), []
    for entry, sli in zip(entries, declared, strict=True):
        needed = {(state.id, sli.reference) for state in sli.formula.states.values()}
        if not needed <= known:
            kept.append(entry)
            known |= needed
    return kept
