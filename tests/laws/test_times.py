"""How a file writes its times does not show in the tables: all Arrow types, units and zones, in either log, mixed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import config_tree
from scenario import DAY, HOUR, at, text

import sli
from sli.calendar.interval import Interval, moment
from sli.config.load import checked
from sli.engine.connection import connect
from sli.logs.discovery import discover
from sli.logs.log import predictions_log
from sli.logs.reader import rows_sql

NEW_YORK = ZoneInfo("America/New_York")
MONDAY = at("2024-01-15T05:00")
"""A midnight of New York."""
ROWS = 6
SECOND = 1_000_000


class Kind(NamedTuple):
    """A type of times and how it is written."""

    type: Any
    options: Mapping[str, Any] = MappingProxyType({})
    more: int = 0
    """Nanoseconds that are added, fewer than make a microsecond."""

    @property
    def is_date(self) -> bool:
        return bool(pa.types.is_date(self.type))


PLAIN = Kind(pa.timestamp("us", tz="UTC"))
ZONES = (None, "UTC", "+05:30", "America/New_York", "Asia/Kolkata")
KINDS = [
    *(Kind(pa.timestamp(unit, tz=zone)) for unit in ("s", "ms", "us", "ns") for zone in ZONES),
    *(Kind(pa.timestamp("ns", tz=zone), more=999) for zone in ZONES),
    *(Kind(pa.timestamp(unit, tz=zone), {"version": "1.0"}) for unit in ("ms", "us") for zone in (None, "UTC")),
    *(Kind(pa.timestamp("us", tz=zone), {"write_statistics": False}) for zone in (None, "America/New_York")),
    Kind(pa.timestamp("ns", tz="UTC"), {"store_schema": False, "write_statistics": False}),
    Kind(pa.timestamp("us"), {"use_deprecated_int96_timestamps": True}),
    Kind(pa.timestamp("ns"), {"use_deprecated_int96_timestamps": True}, more=999),
    Kind(pa.date32()),
    Kind(pa.date64()),
]


def column(kind: Kind, instants: list[int]) -> pa.Array:
    """Instants as a kind of times; what has no zone is New York's."""
    if kind.is_date:
        days = [datetime.fromtimestamp(each / SECOND, NEW_YORK).date() for each in instants]
        return pa.array(days, pa.date32()).cast(kind.type)
    if kind.type.tz is None:
        walls = [moment(each).astimezone(NEW_YORK).replace(tzinfo=None) for each in instants]
        made = pa.array(walls, pa.timestamp("us"))
    else:
        made = pa.array(instants, pa.int64()).cast(pa.timestamp("us", tz=kind.type.tz))
    if kind.more:
        return pa.array(np.asarray(made.cast(pa.int64())) * 1000 + kind.more).cast(kind.type)
    return made.cast(kind.type)


def write(folder: Path, log: str, kinds: list[Kind]) -> None:
    """A file a kind, each of a day of its own; all rows of a date at the day's first instant, as in all logs here."""
    for i, kind in enumerate(kinds):
        start = MONDAY + i * DAY
        step = 0 if KINDS[i].is_date else 20 * 60 * SECOND
        times = [start + j * step for j in range(ROWS)]
        values = {"value": [j % 2 for j in range(ROWS)]}
        if log == "predictions":
            values = {"value": [(j + 0.5) / ROWS for j in range(ROWS)]}
        elif not KINDS[i].is_date:
            times = [each + HOUR for each in times]
        path = folder / log / f"{i:02}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = [f"{i}-{j}" for j in range(ROWS)]
        table = pa.table({"id": ids, "time": column(kind, times), **values})
        pq.write_table(table, path, **kind.options)


def config(folder: Path, store: str) -> Any:
    columns = {"id": "id", "time": "time", "value": "value"}
    slis = ["accuracy", {"sli": "feedback_delay", "q": 0.5}]
    more = {"timezone": "America/New_York", "horizon": "2h", "grains": ["hour", "day"], "slis": slis}
    return checked(config_tree(folder, columns, columns, store=str(folder / store), **more))


def rows(made: Any) -> pd.DataFrame:
    return sli.read(made).drop(columns=["run_id", "as_of"])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("plain")
    for log in ("predictions", "feedback"):
        write(folder, log, [PLAIN] * len(KINDS))
    made = config(folder, "store")
    assert not len(sli.run(made, as_of="2024-04-01").newly_bad)
    found = rows(made)
    days = found[(found.grain == "day") & (found.sli == "accuracy")]
    assert days.labelled.tolist() == [ROWS] * len(KINDS)
    return found


@pytest.mark.parametrize("of", [("predictions",), ("feedback",), ("predictions", "feedback")], ids=" and ".join)
def test_all_types_of_times_are_one_in_either_log(tmp_path: Path, expected: pd.DataFrame, of: tuple[str, ...]) -> None:
    for log in ("predictions", "feedback"):
        write(tmp_path, log, KINDS if log in of else [PLAIN] * len(KINDS))
    once, by_days = config(tmp_path, "once"), config(tmp_path, "by-days")
    assert not len(sli.run(once, as_of="2024-04-01").newly_bad)
    pd.testing.assert_frame_equal(rows(once), expected)
    if len(of) == 2:
        assert sli.verify(once, windows=0).equal
        for day in (7, len(KINDS) // 2):
            sli.run(by_days, as_of=text(MONDAY + day * DAY))
        sli.run(by_days, as_of="2024-04-01")
        pd.testing.assert_frame_equal(rows(by_days), expected)


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("statistics", [True, False])
def test_what_is_smaller_than_a_microsecond_is_cut_off_towards_the_past(
    tmp_path: Path, zone: str | None, statistics: bool
) -> None:
    stored = [-1_000_001, -1001, -1000, -999, -1, 0, 1, 999, 1000]
    for log in ("predictions", "feedback"):
        (tmp_path / log).mkdir()
        times = pa.array(stored, pa.int64()).cast(pa.timestamp("ns", tz=zone))
        values = {"id": [str(each) for each in stored], "value": [0.0] * len(stored)}
        path = tmp_path / log / "0.parquet"
        pq.write_table(pa.table({**values, "time": times}), path, write_statistics=statistics)
    made = config(tmp_path, "store")
    [file] = discover(made).predictions
    shift = 0 if zone else 5 * HOUR
    micros = [each // 1000 + shift for each in stored]
    assert file.ranges == ((micros[0], micros[-1] + 1),)
    for span in (Interval(-(2**56), 2**56), Interval(micros[1], micros[-1])):
        con = connect(1, 1 << 26)
        sql = rows_sql(con, [file], predictions_log(made), span)
        found = con.execute(f"SELECT t FROM {sql} ORDER BY id::BIGINT").fetchall()
        con.close()
        assert [each for (each,) in found] == [each for each in micros if span.start <= each < span.end]


def test_dates_of_a_year_that_no_nanosecond_tells_are_read_beside_others(tmp_path: Path) -> None:
    for log in ("predictions", "feedback"):
        (tmp_path / log).mkdir()
        times = pa.array([date(2024, 1, 15), date(1, 1, 1), date(9999, 12, 31)])
        table = pa.table({"id": ["a", "b", "c"], "time": times, "value": [1.0] * 3})
        pq.write_table(table, tmp_path / log / "0.parquet")
    made = config(tmp_path, "store")
    assert not len(sli.run(made, as_of="2024-04-01").newly_bad)
    [row] = rows(made).query("grain == 'day' and sli == 'accuracy'").itertuples()
    assert (row.predictions, row.labelled) == (1, 1)
