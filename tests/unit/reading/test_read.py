"""`sli.read` gives the rows asked for, and says what is wrong where nothing could ever be found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from desk import TEN, ZONED, Desk, N

import sli
from sli.errors import ConfigError


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("read"), None)  # type: ignore[arg-type]
    desk.configure(slice_by=[[], ["site"], ["kind", "site"]], horizon="30d")
    desk.predictions(site=["A", "B"] * (N // 2), kind=["x"] * N)
    desk.feedback()
    sli.run(desk.config, as_of="2024-02-01")
    return desk


@pytest.mark.parametrize("table", ["results", "revisions"])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"slice_by": ["sight"]}, "nothing is published by sight"),
        ({"slice_by": ["sight"]}, "did you mean 'site'?"),
        ({"slice_by": ["kind"]}, "one of all, site, kind x site"),
        ({"slice": {"kind": "x"}}, "nothing is published by kind"),
        ({"slice": "A"}, "this is not a slice"),
        ({"slice_by": "site"}, 'for example ["site"]'),
        ({"slice": {"site": "A"}, "slice_by": ["kind", "site"]}, "the slice is by site"),
        ({"start": "2024-01-16", "end": "2024-01-15"}, "the time asked for is empty"),
    ],
)
def test_what_nothing_is_published_for_is_an_error(desk: Desk, table: str, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        sli.read(desk.config, table=table, **asked)
    assert message in str(error.value)


def test_a_value_or_a_time_without_rows_gives_none(desk: Desk) -> None:
    assert len(sli.read(desk.config, slice={"site": "C"})) == 0
    assert len(sli.read(desk.config, end="2010-01-01")) == 0
    assert len(sli.read(desk.config, slice={"site": "A"}, slice_by=["site"])) == 1


def test_columns_that_the_config_no_longer_has_are_still_in_the_history(tmp_path: Path) -> None:
    desk = Desk(tmp_path, None)  # type: ignore[arg-type]
    desk.configure(slice_by=[[], ["site"]], horizon="30d")
    desk.predictions(site=["A"] * N)
    desk.feedback()
    sli.run(desk.config, as_of="2024-01-20")
    desk.configure(horizon="30d")
    sli.run(desk.config, as_of="2024-01-21")
    assert len(sli.read(desk.config, slice_by=["site"], as_of="2024-01-20")) == 1
    assert len(sli.read(desk.config, slice_by=["site"], table="revisions")) == 2
    with pytest.raises(ConfigError, match="nothing is published by site"):
        sli.read(desk.config, slice_by=["site"])


def test_a_run_of_an_older_as_of_says_truly_why_its_rows_are_new(tmp_path: Path) -> None:
    desk = Desk(tmp_path, None)  # type: ignore[arg-type]
    desk.configure(horizon="30d")
    desk.predictions(predicted_at=pa.array([TEN] * N, ZONED))
    desk.predictions("b.parquet", "q", predicted_at=pa.array([TEN.replace(hour=12)] * N, ZONED))
    desk.feedback()
    desk.feedback("b.parquet", "q")
    sli.run(desk.config, as_of="2024-01-20")
    sli.run(desk.config, as_of="2024-01-15T10:30")
    sli.run(desk.config, as_of="2024-01-15T12:30")
    desk.configure(horizon="30d", slis=["accuracy", "recall"])
    sli.run(desk.config, as_of="2024-01-16")
    rows = sli.read(desk.config, table="revisions")
    told = [
        (row.sequence, row.sli, row.window_start.hour, row.cause)
        for row in rows.itertuples()
        if row.cause != "restated"
    ]
    assert told == [
        (1, "accuracy", 10, "first run"),
        (1, "accuracy", 12, "first run"),
        (2, "accuracy", 10, "first run"),
        (3, "accuracy", 10, "late feedback"),
        (3, "accuracy", 12, "new predictions"),
        (4, "recall", 10, "new definition"),
        (4, "recall", 12, "new definition"),
    ]
