"""New York's yellow taxis of 2020 as two logs: "a tip above 20 % of the fare?" asked at pickup, answered at dropoff.

The trips are the city's own files (TLC trip records) and keep their dirt: naive local times, stray years, dropoffs
before pickups, unknown vendors. A model trained on January predicts from February 1st. Limit: each source file (the
city's hold a month) must fit in memory.
"""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sli.command.demo.flights import write_days

TRAINED_FROM = pd.Timestamp("2020-01-01")
DEPLOYED = pd.Timestamp("2020-02-01")
TRAINING_TRIPS = 500_000  # more of January's 6.4 million improve nothing that the demo shows
# The destination and its distance stand for what the passenger says on getting in. Fare and way of payment would
# predict better, but only become known with the answer.
FEATURES = ["passenger_count", "trip_distance", "PULocationID", "DOLocationID", "hour", "weekday"]
COLUMNS = [
    "VendorID",
    "tpep_pickup_datetime",
    "tpep_dropoff_datetime",
    "passenger_count",
    "trip_distance",
    "PULocationID",
    "DOLocationID",
    "fare_amount",
    "tip_amount",
]

NAIVE: pa.DataType = pa.timestamp("us")
PREDICTIONS = pa.schema(
    [
        ("output_id", pa.string()),
        ("predicted_at", NAIVE),
        ("score", pa.float64()),
        ("pickup", pa.string()),
        ("vendor", pa.string()),
        ("trip_distance", pa.float64()),
    ]
)
FEEDBACK = pa.schema([("output_id", pa.string()), ("known_at", NAIVE), ("tipped", pa.bool_())])


def prepare(source: str, folder: Path) -> None:
    """Write `folder/predictions` and `folder/feedback` from the TLC files of 2020 at `source`: a folder, file or URL.

    `source` is any fsspec path; with a `*` in it, all files that match. A trip's id is its file's name and row number.
    """
    filesystem, paths = trip_files(source)
    model = tip_model(january_trips(path, filesystem) for path in paths)
    for path in paths:
        name = file_name(path, paths)
        trips = with_features(
            pq.read_table(path, filesystem=filesystem, columns=COLUMNS, partitioning=None).to_pandas()
        )
        trips["output_id"] = name + "-" + trips.index.astype(str).str.zfill(8)
        # A meter whose clock shows an earlier year has no place in this log: the model did not exist then. One that
        # shows a later year stays, as do dropoffs of any year: the log cannot know better.
        deployed = trips[trips["tpep_pickup_datetime"] >= DEPLOYED]
        if not deployed.empty:
            write_days(
                predictions(deployed, model), "predicted_at", PREDICTIONS, folder / "predictions", f"{name}.parquet"
            )
            write_days(feedback(deployed), "known_at", FEEDBACK, folder / "feedback", f"{name}.parquet")


def trip_files(source: str) -> tuple[Any, list[str]]:
    """The file system of `source` and its Parquet files, each checked for the columns the demo needs."""
    filesystem, path = fsspec.core.url_to_fs(source)
    if "*" in path:
        paths = sorted(filesystem.glob(path))
    elif filesystem.isfile(path):
        paths = [path]
    else:
        paths = sorted(file for file in filesystem.find(path) if file.endswith(".parquet"))
    if not paths:
        raise ValueError(f"no Parquet file at {source}")
    for file in paths:
        missing = set(COLUMNS) - set(pq.read_schema(file, filesystem=filesystem).names)
        if missing:
            raise ValueError(
                f"{file} is not a file of yellow-taxi trips: it has no column {', '.join(sorted(missing))}"
            )
    return filesystem, paths


def file_name(path: str, paths: list[str]) -> str:
    """The file's name without its suffix or, where folders repeat names (month=01/part.parquet), its whole path."""
    stems = [PurePosixPath(other).stem for other in paths]
    stem = PurePosixPath(path).stem
    unique = stem if stems.count(stem) == 1 else str(PurePosixPath(path).with_suffix("")).strip("/")
    return re.sub(r"[^\w.-]", "-", unique)


def january_trips(path: str, filesystem: Any) -> pd.DataFrame:
    """Trips to learn from: picked up in January 2020 and paid before the model went live."""
    pickup, dropoff = "tpep_pickup_datetime", "tpep_dropoff_datetime"
    january: list[Any] = [
        (pickup, ">=", TRAINED_FROM),
        (pickup, "<", DEPLOYED),
        (dropoff, "<", DEPLOYED),
        ("fare_amount", ">", 0),
    ]
    trips = pq.read_table(path, filesystem=filesystem, columns=COLUMNS, filters=january, partitioning=None)
    return with_features(trips.to_pandas())


def with_features(trips: pd.DataFrame) -> pd.DataFrame:
    pickup = trips["tpep_pickup_datetime"]
    return trips.assign(hour=pickup.dt.hour, weekday=pickup.dt.day_of_week)


def tip_model(parts: Iterable[pd.DataFrame]) -> Any:
    """A classifier of `tipped` trained on January's trips."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    january = pd.concat(parts, ignore_index=True)
    if january.empty:
        raise ValueError("there is no trip of January 2020 to train on")
    training = january.iloc[:: len(january) // TRAINING_TRIPS + 1]
    model = HistGradientBoostingClassifier(learning_rate=0.05, max_iter=100, min_samples_leaf=100, random_state=2020)
    return model.fit(training[FEATURES].astype(float), tipped(training))


def tipped(trips: pd.DataFrame) -> pd.Series:
    return trips["tip_amount"] > 0.2 * trips["fare_amount"]


def predictions(trips: pd.DataFrame, model: Any) -> pd.DataFrame:
    """What the model said at each pickup."""
    return pd.DataFrame(
        {
            "output_id": trips["output_id"],
            "predicted_at": trips["tpep_pickup_datetime"].dt.as_unit("us"),
            "score": np.asarray(model.predict_proba(trips[FEATURES].astype(float))[:, 1]),
            "pickup": trips["PULocationID"].astype("Int64").astype("string"),
            "vendor": trips["VendorID"].astype("Int64").astype("string"),
            "trip_distance": trips["trip_distance"].astype(float),
        }
    )


def feedback(trips: pd.DataFrame) -> pd.DataFrame:
    """What the meter recorded at each dropoff. Trips with a fare of 0 or less get none: a tip has no share of it."""
    paid = trips[trips["fare_amount"].gt(0) & trips["tip_amount"].notna() & trips["tpep_dropoff_datetime"].notna()]
    return pd.DataFrame(
        {
            "output_id": paid["output_id"],
            "known_at": paid["tpep_dropoff_datetime"].dt.as_unit("us"),
            "tipped": tipped(paid),
        }
    )
