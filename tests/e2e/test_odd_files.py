"""One bad file, column or name never ends a run: it is set aside with its true reason, and all else is published."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest
from desk import TEN, Desk, N
from faulty import On, after, faulty, first

import sli
from sli.config.load import load_config
from sli.reading.read import standing_audit


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


def table(desk: Desk) -> pa.Table:
    """Six more good predictions."""
    path = desk.predictions("x.parquet", prefix="b")
    found = pq.read_table(path)
    path.unlink()
    return found


def fifo(_: Desk, path: Path) -> None:
    os.mkfifo(path)


def link_to_a_fifo(desk: Desk, path: Path) -> None:
    os.mkfifo(desk.root / "fifo")
    path.symlink_to(desk.root / "fifo")


def bound_socket(_: Desk, path: Path) -> None:
    # A socket's path may be short only.
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def device(_: Desk, path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(_: Desk, path: Path) -> None:
    path.symlink_to(path.name)


def link_to_nowhere(_: Desk, path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_a_folder(desk: Desk, path: Path) -> None:
    path.symlink_to(desk.root)


def empty_folder(_: Desk, path: Path) -> None:
    path.mkdir()


def no_bytes(_: Desk, path: Path) -> None:
    path.touch()


def text(_: Desk, path: Path) -> None:
    path.write_text("output_id,score\n" * 9)


def name_of_bytes(desk: Desk, path: Path) -> None:
    pq.write_table(table(desk), path)
    os.rename(path, os.fsencode(path.parent) + b"/b\xff.parquet")


def no_columns(_: Desk, path: Path) -> None:
    pq.write_table(pa.table({}), path)


def columns_of_one_name(desk: Desk, path: Path) -> None:
    good = table(desk)
    pq.write_table(good.append_column("score", good["score"]), path)


def columns_that_differ_in_case(desk: Desk, path: Path) -> None:
    good = table(desk)
    pq.write_table(good.add_column(0, "Score", good["score"]), path)


def column_of_row_numbers(desk: Desk, path: Path) -> None:
    pq.write_table(table(desk).append_column("file_row_number", pa.array([1] * N)), path)


def ids_that_are_no_text(desk: Desk, path: Path) -> None:
    raw = pa.array([b"\xff%d" % i for i in range(N)], pa.binary())
    ids = pa.Array.from_buffers(pa.string(), N, raw.buffers())
    pq.write_table(table(desk).set_column(0, "output_id", ids), path)


def of_year(year: int, unit: str = "us", zone: str | None = None) -> Callable[[Desk, Path], None]:
    def write(desk: Desk, path: Path) -> None:
        times = pa.array([datetime(year, 1, 1)] * N, pa.timestamp(unit)).cast(pa.timestamp(unit, tz=zone))
        pq.write_table(table(desk).set_column(1, "predicted_at", times), path)

    return write


def millis_of_a_far_year(desk: Desk, path: Path) -> None:
    times = pa.array([10**18] * 3 + [1705314601123] * 3, pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
    pq.write_table(table(desk).set_column(1, "predicted_at", times), path)


class Keys(encryption.KmsClient):  # type: ignore[misc]
    """Keys that are no secret."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64decode(key)


def secret(columns: list[str], **options: Any) -> Callable[[Desk, Path], None]:
    def write(desk: Desk, path: Path) -> None:
        chosen = encryption.EncryptionConfiguration(footer_key="f", column_keys={"c": columns}, **options)
        properties = encryption.CryptoFactory(Keys).file_encryption_properties(encryption.KmsConnectionConfig(), chosen)
        good = table(desk).append_column("note", pa.array(["x"] * N))
        with pq.ParquetWriter(path, good.schema, encryption_properties=properties) as writer:
            writer.write_table(good)

    return write


NAMES = {
    fifo: "a FIFO, not a file",
    link_to_a_fifo: "a FIFO, not a file",
    bound_socket: "a socket, not a file",
    device: "a device, not a file",
    link_to_itself: "a link that leads to itself",
    link_to_nowhere: "a link that leads nowhere",
    link_to_a_folder: "a link to a folder, which is not followed lest it leads in circles",
    empty_folder: "a folder that holds no Parquet file",
    name_of_bytes: "its name is not UTF-8",
}


def reasons(desk: Desk) -> dict[tuple[str, str], str]:
    """By check and name of the file."""
    rows = sli.read(desk.config, table="audit").query("log == 'predictions'").itertuples()
    return {(row.check, Path(row.file).name): row.explanation for row in rows}


@pytest.mark.parametrize("url", ["{}", "file://{}"])
def test_what_only_bears_the_name_of_a_file_is_set_aside_unopened(desk: Desk, url: str) -> None:
    desk.configure(predictions__path=url.format(desk.root / "predictions"))
    for i, make in enumerate(NAMES):
        make(desk, desk.root / f"predictions/b{i}.parquet")
    said = desk.run()
    assert said.code == 3
    assert said.has("set aside: predictions, unreadable", "b0.parquet", "a FIFO, not a file")
    assert desk.counts() == (6, 6)
    names = [f"b{i}.parquet" if make is not name_of_bytes else "b\\xff.parquet" for i, make in enumerate(NAMES)]
    assert reasons(desk) == {("unreadable", name): why for name, why in zip(names, NAMES.values(), strict=True)}
    assert desk.run().code == 0, "nor is it reported again"


FILES = [
    (no_bytes, "unreadable", "0 bytes"),
    (text, "unreadable", "magic bytes not found"),
    (no_columns, "missing column", "no column 'output_id', no column at all"),
    (columns_of_one_name, "ambiguous column", "'score' is one of score, score"),
    (columns_that_differ_in_case, "ambiguous column", "'score' is one of Score, score"),
    (column_of_row_numbers, "ambiguous column", "'file_row_number'"),
    (ids_that_are_no_text, "unsupported", "it is not damaged, but DuckDB cannot read it: "),
    (of_year(1), "wrong time", "before the year 1678 or after 2261; was it written in another unit"),
    (of_year(1, "ms", "Asia/Tokyo"), "wrong time", "column 'predicted_at'"),
    (of_year(1600), "wrong time", "column 'predicted_at'"),
    (of_year(2300), "wrong time", "column 'predicted_at'"),
    (of_year(9999, "ms", "UTC"), "wrong time", "column 'predicted_at'"),
    (millis_of_a_far_year, "unsupported", "it is not damaged, but DuckDB cannot read it: "),
    (secret(["score"]), "unreadable", "encrypted"),
    (secret(["score"], plaintext_footer=True), "unreadable", "column 'score' is encrypted"),
]


def test_files_that_cannot_be_used_are_set_aside_each_for_its_true_reason(desk: Desk) -> None:
    for i, (make, _, _) in enumerate(FILES):
        make(desk, desk.root / f"predictions/b{i:02}.parquet")
    said = desk.run()
    assert said.code == 3
    assert said.has("set aside: predictions, unreadable", "more: sli show CONFIG --table audit")
    assert desk.counts() == (6, 6)
    found = reasons(desk)
    assert found.keys() == {(check, f"b{i:02}.parquet") for i, (_, check, _) in enumerate(FILES)}
    for i, (_, check, reason) in enumerate(FILES):
        assert reason in found[check, f"b{i:02}.parquet"]


@pytest.mark.parametrize(
    "make",
    [
        secret(["note"], plaintext_footer=True),
        lambda desk, path: pq.write_table(table(desk).append_column("filename", pa.array(["x"] * N)), path),
        lambda desk, path: (path.mkdir(), pq.write_table(table(desk), path / "part-0.parquet")),
    ],
    ids=["another column is encrypted", "a column called filename", "a folder of files"],
)
def test_what_looks_odd_but_can_be_used_counts(desk: Desk, make: Callable[[Desk, Path], None]) -> None:
    make(desk, desk.root / "predictions/b.parquet")
    assert desk.run().code == 0
    assert desk.counts() == (12, 6)


def test_one_time_of_the_year_1_beside_others_ends_no_run(desk: Desk) -> None:
    desk.configure(timezone="Asia/Tokyo", since="2024-01-15")
    late = [datetime(1, 1, 1), *[TEN.replace(tzinfo=None) + timedelta(hours=12)] * (N - 1)]
    desk.feedback(known_at=pa.array(late, pa.timestamp("us")))
    assert desk.run().code == 0
    assert desk.counts() == (6, 5)


NESTED = {
    "list": pa.array([["x"]] * N),
    "struct": pa.array([{"a": 1}] * N),
    "map": pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())),
}


def test_files_whose_slice_column_is_nested_are_set_aside(desk: Desk) -> None:
    desk.configure(slice_by=[[], ["region"]])
    desk.predictions(region=["x"] * N)
    for kind, column in NESTED.items():
        desk.predictions(f"{kind}.parquet", prefix=kind, region=column)
    said = desk.run()
    assert said.code == 3
    assert said.has("set aside: predictions, wrong type, 6 rows")
    assert said.has(
        *(f"{kind}.parquet: column 'region' is {kind}<" for kind in NESTED), "expected text as in the other"
    )
    assert desk.counts() == (6, 6)
    assert sli.read(desk.config, slice={"region": "x"}).predictions.tolist() == [6]


def test_slices_by_a_column_that_is_nested_everywhere_are_set_aside_and_all_else_is_published(desk: Desk) -> None:
    desk.configure(slice_by=[[], {"columns": ["region"], "top": 2}, ["region", "site"], ["site"]])
    desk.predictions(region=NESTED["list"], site=["s"] * N)
    said = desk.run()
    assert said.code == 3
    assert said.has("wrong type: region, 6 rows", "column 'region' is list<", "no slices by it")
    assert desk.counts() == (6, 6)
    assert sli.read(desk.config, slice={"site": "s"}).predictions.tolist() == [6]
    assert desk.audit() == {("predictions", "wrong type: region"): 6}
    assert desk.run().code == 0
    assert desk.call("verify", str(desk.config)).code == 0
    desk.predictions(region=["x"] * N, site=["s"] * N)
    assert desk.backfill("2024-01-15", "2024-01-16").code == 0
    assert desk.run().code == 0, "slices that are new enter with a run without limits"
    assert sli.read(desk.config, slice={"region": "x"}).predictions.tolist() == [6]
    assert standing_audit(load_config(desk.config)).empty


def test_only_slices_by_nested_columns_are_an_error_of_the_config(desk: Desk) -> None:
    desk.configure(slice_by=[["region"]])
    desk.predictions(region=NESTED["list"])
    said = desk.run()
    assert said.code == 2
    assert said.has("no column of `slice_by` can be sliced by", "'region' is list<", "[[]]")


@pytest.mark.parametrize(
    ("usual", "odd"),
    [
        (pa.array([1] * N), pa.array([datetime(2024, 1, 1)] * N)),
        (pa.array([True] * N), pa.array([b"\xff"] * N)),
        (pa.array([[1]] * N), pa.array(["x"] * N)),
        (pa.array([{"a": 1}] * N), pa.array([[1]] * N)),
    ],
)
def test_a_column_whose_types_no_column_can_hold_together_sets_the_odd_file_aside(
    desk: Desk, usual: pa.Array, odd: pa.Array
) -> None:
    desk.configure(predictions__columns=["detail"])
    desk.predictions("0.parquet", prefix="b", detail=odd)
    desk.predictions(detail=usual)
    desk.predictions("c.parquet", prefix="c", detail=usual)
    said = desk.run()
    assert said.code == 3
    assert said.has("set aside: predictions, wrong type, 6 rows", "0.parquet", f"'detail' is {str(odd.type)[:5]}")
    assert desk.counts() == (12, 6)


def test_one_first_file_of_other_ids_does_not_set_the_others_aside(desk: Desk) -> None:
    desk.predictions("0.parquet", output_id=list(range(N)))
    desk.predictions("c.parquet", prefix="c")
    said = desk.run()
    assert said.code == 3
    assert said.has("predictions, wrong id type, 6 rows", "0.parquet", "int64", "string")
    assert desk.counts() == (12, 6)


def test_files_of_other_folders_are_read_beside_each_other(desk: Desk) -> None:
    desk.configure(slice_by=[[], ["region"]])
    (desk.root / "predictions/a.parquet").unlink()
    for folder, prefix in (("date=1/region=x", "p"), ("region=x", "b")):
        (desk.root / "predictions" / folder).mkdir(parents=True)
        desk.predictions(f"{folder}/a.parquet", prefix=prefix)
    assert desk.run().code == 0
    assert sli.read(desk.config, slice={"region": "x"}).predictions.tolist() == [12]


# Files that come and go


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_goes_between_the_listing_and_its_footer_is_as_if_it_had_gone_before(
    desk: Desk, replaced: bool
) -> None:
    path = desk.predictions("b.parquet", prefix="b")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])

    def go() -> None:
        path.unlink()
        if replaced:
            path.write_bytes(whole)

    with faulty(On("list predictions", after(go))):
        assert desk.run().code == 0
    assert desk.counts() == (12 if replaced else 6, 6)


def test_a_file_that_goes_while_its_rows_are_read_is_as_if_it_had_gone_before(
    desk: Desk,
) -> None:
    path = desk.predictions("b.parquet", prefix="b")
    # Once more, the run opens the results when it has listed its logs, before it reads them.
    with faulty(On("open results", first(path.unlink), 2)):
        assert desk.run().code == 0
    assert desk.counts() == (6, 6)
    assert desk.audit() == {}


# A feedback log without a usable file


CONTENTS = [
    ({}, "an empty folder"),
    ({"a.csv": b"a,b", "b.csv": b"a,b", "c.txt": b""}, "2 .csv files, 1 .txt file, no .parquet"),
    ({"_SUCCESS": b"", "LICENCE": b""}, "1 unnamed file, no .parquet"),
    ({"a.parquet": b"PAR1", "a.csv": b""}, "1 Parquet file, set aside"),
]


def test_a_feedback_log_without_a_usable_file_is_told_by_each_run(desk: Desk) -> None:
    folder = desk.root / "feedback"
    for files, found in CONTENTS:
        for path in folder.iterdir():
            path.unlink()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        said = desk.run()
        assert said.code == 3
        sentence = f"nothing is labelled: no usable feedback at {folder}, only {found}"
        [told] = [line for line in said.err.splitlines() if line.startswith(f"sli: {sentence}")]
        assert told.removeprefix(f"sli: {sentence}").startswith("; convert them by `" if ".csv" in found else "")
        assert desk.counts() == (6, 0)
    desk.feedback(n=0, output_id=pa.array([], pa.string()), label=pa.array([], pa.int64()))
    assert desk.run().has("only 1 Parquet file, without rows")
    said = desk.run("--json")
    assert said.code == 3
    [sentence] = json.loads(said.out)["warnings"]
    said = desk.backfill("2024-01-15", "2024-01-16", "--chunk", "1d")
    assert said.code == 3
    assert said.err.splitlines() == [f"sli: {sentence}"]
    desk.feedback()
    assert desk.backfill("2024-01-15", "2024-01-16").code == 0
    assert desk.counts() == (6, 6)


def test_predictions_of_no_usable_file_end_the_run_and_say_what_is_there(desk: Desk) -> None:
    assert desk.run().code == 0
    (desk.root / "predictions/a.parquet").rename(desk.root / "predictions/a.csv")
    said = desk.run()
    assert said.code == 4
    assert said.has(
        "the predictions log is empty", "1 .csv file, no .parquet", "convert them by `python", "`predictions.path`"
    )
    assert desk.counts() == (6, 6), "what is published stays"
