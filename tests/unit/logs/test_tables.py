"""Tables as logs: only what the current snapshot of a Delta or Iceberg table has counts; a rewrite changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import small_world
from deltalake import DeltaTable, write_deltalake
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, published, text

import sli
from sli.command.text import plan_lines
from sli.config.load import checked
from sli.config.model import Config
from sli.config.sections import StoreSection
from sli.engine.storage import delta_options
from sli.errors import ConfigError, InputError
from sli.logs import iceberg
from sli.logs.listing import Listing
from sli.logs.paths import list_files

MONDAY = at("2024-01-15T00:00")
WORLD = small_world(slice_by=((), ("site",)), horizon=9 * DAY)
AS_OF = MONDAY + 3 * DAY
ROWS = pa.table({"output_id": ["a", "b"], "site": ["north west", "s/e"], "score": [0.25, 0.75]})
READER = {"minReaderVersion": 3, "minWriterVersion": 7}


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """Two days of logs as plain files."""
    made = Scenario(tmp_path, WORLD)
    for day in range(2):
        rows = [
            Prediction(f"{day}-{h}", MONDAY + day * DAY + h * HOUR, h / 24, {"site": ("north west", "s/e")[h % 2]})
            for h in range(24)
        ]
        made.log_predictions(f"{day}.parquet", rows)
        made.log_feedback(f"{day}.parquet", [Feedback(row.id, (row.time or 0) + HOUR, 1.0) for row in rows[::3]])
    return made


def rows_of(scenario: Scenario, log: str, name: str) -> pa.Table:
    return pq.read_table(scenario.root / log / name)


def with_logs(scenario: Scenario, folder: str, **changes: Any) -> Config:
    """The config with both logs below a folder or URL, and a store of its own."""
    tree = config_of(WORLD, scenario.root) | {"store": str(scenario.root / "there")} | changes
    for log in ("predictions", "feedback"):
        tree[log]["path"] = f"{folder}/{log}"
    return checked(tree)


def write_tables(scenario: Scenario, folder: str, name: str, **options: Any) -> None:
    """Append a file of both logs to the tables in a folder."""
    options |= {"storage_options": delta_options(folder), "mode": "append"}
    write_deltalake(f"{folder}/predictions", rows_of(scenario, "predictions", name), partition_by=["site"], **options)
    write_deltalake(f"{folder}/feedback", rows_of(scenario, "feedback", name), **options)


def check_equal(config: Config, scenario: Scenario) -> None:
    """What a config has published equals what a new store has, from the same logs and from plain files."""
    anew = scenario.root / "anew"
    shutil.rmtree(anew, ignore_errors=True)
    other = config.model_copy(update={"stored": StoreSection(path=str(anew))})
    sli.run(other, as_of=text(AS_OF))
    assert published(config) == published(other)


def test_a_delta_table_is_its_current_snapshot_whatever_was_rewritten(scenario: Scenario) -> None:
    folder = str(scenario.root / "tables")
    config = with_logs(scenario, folder)
    write_tables(scenario, folder, "0.parquet")
    first = sli.plan(config, as_of=text(AS_OF))
    assert first.tables == ("predictions: Delta table, version 0, 2 files", "feedback: Delta table, version 0, 1 file")
    assert set(first.tables) < set(plan_lines(first, config))
    sli.run(config, as_of=text(AS_OF))
    write_tables(scenario, folder, "1.parquet")
    DeltaTable(f"{folder}/predictions").optimize.compact()
    DeltaTable(f"{folder}/feedback").optimize.compact()
    # A writer that was killed leaves files that no commit names.
    uncommitted = f"{folder}/predictions/site=s%2Fe/part-9.parquet"
    pq.write_table(rows_of(scenario, "predictions", "0.parquet").drop(["site"]), uncommitted)
    plan = sli.run(config, as_of=text(AS_OF)).plan
    assert plan.tables == ("predictions: Delta table, version 2, 2 files", "feedback: Delta table, version 2, 1 file")
    scenario.run(AS_OF)
    assert published(config) == published(scenario.config), "as plain files without the superseded ones"
    check_equal(config, scenario)
    DeltaTable(f"{folder}/predictions").delete("output_id IN ('0-1', '1-1')")
    DeltaTable(f"{folder}/feedback").update(updates={"label": "0.0"}, predicate="output_id = '0-0'")
    sli.run(config, as_of=text(AS_OF))
    check_equal(config, scenario)
    assert sli.verify(config, windows=None).equal
    write_deltalake(f"{folder}/feedback", rows_of(scenario, "feedback", "1.parquet"), mode="overwrite")
    sli.run(config, as_of=text(AS_OF))
    check_equal(config, scenario)


def test_delta_tables_on_s3_are_read_by_their_snapshot_also_by_a_pattern(scenario: Scenario, s3: str) -> None:
    config = with_logs(scenario, s3)
    # The server makes the bucket with its first file.
    fsspec.filesystem("s3", skip_instance_cache=True).pipe_file(f"{s3}/note.txt", b"x")
    for name in ("0.parquet", "1.parquet"):
        write_tables(scenario, s3, name)
    DeltaTable(f"{s3}/predictions", storage_options=delta_options(s3)).optimize.compact()
    scenario.run(AS_OF)
    sli.run(config, as_of=text(AS_OF))
    assert published(config) == published(scenario.config)
    for pattern in ("pred*", "predictions/site=*/*.parquet", "predictions/site=s%2Fe/", "predictions/part-*"):
        found = list_files("predictions", [f"{s3}/{pattern}"])
        # One file of each partition: four more are superseded.
        assert len(found.paths) == {"pred*": 2, "predictions/site=*/*.parquet": 2}.get(pattern, "site" in pattern)
        assert found.missing or found.tables == {f"{s3}/predictions": "Delta table, version 2"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A Delta table, partitioned by `site`, of two files."""
    write_deltalake(tmp_path / "table", ROWS, partition_by=["site"])
    return tmp_path / "table"


def listed(*paths: Path | str) -> Listing:
    return list_files("predictions", [str(path) for path in paths])


def commit(table: Path, version: int, *actions: dict[str, Any]) -> None:
    lines = "".join(f"{json.dumps(action)}\n" for action in actions)
    (table / "_delta_log" / f"{version:020}.json").write_text(lines)


def action(table: Path, name: str) -> Any:
    """The last action of a name in the first commit."""
    lines = (table / "_delta_log" / f"{0:020}.json").read_text().splitlines()
    return [json.loads(line)[name] for line in lines if name in json.loads(line)][-1]


def test_a_path_into_a_table_names_files_of_its_snapshot(table: Path) -> None:
    whole = listed(table)
    assert whole.described_tables == ("Delta table, version 0, 2 files",)
    assert all(size == os.path.getsize(path) for path, size in zip(whole.paths, whole.sizes, strict=True))
    leftover = shutil.copy(whole.paths[0], Path(whole.paths[0]).with_name("left.parquet"))
    assert listed(table) == whole
    assert listed(table.parent / "t*") == whole
    assert listed(table / "site=s%2Fe").paths == [path for path in whole.paths if "s%2Fe" in path]
    assert listed(table / "site=*/*.parquet", whole.paths[0]).paths == whole.paths
    assert listed(f"file://{table}").paths == [f"file://{path}" for path in whole.paths]
    assert "does not have it" in listed(leftover).refused[str(leftover)]
    times = pa.table(DeltaTable(table).get_add_actions(flatten=True))["modification_time"].to_pylist()
    assert sorted(whole.modified) == sorted(1000 * time for time in times)


def test_a_file_that_a_table_names_and_that_is_gone_is_set_aside(table: Path) -> None:
    gone = listed(table).paths[0]
    Path(gone).unlink()
    assert listed(table).refused == {gone: "it does not exist, but the Delta table, version 0, names it"}


DELETED_ROW = {"storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000005c8Xg00000", "cardinality": 1}


def mapped(table: Path) -> dict[str, Any]:
    """The metadata of a table in whose files `score` has another name."""
    metadata = action(table, "metaData")
    schema = json.loads(metadata["schemaString"])
    for number, field in enumerate(schema["fields"]):
        physical = "col-7" if field["name"] == "score" else field["name"]
        field["metadata"] = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": physical}
    configuration = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "3"}
    return {**metadata, "schemaString": json.dumps(schema), "configuration": configuration}


def test_what_would_be_read_wrongly_is_refused(table: Path) -> None:
    add = action(table, "add")
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    commit(table, 1, {"protocol": READER | features})
    assert len(listed(table).paths) == 2, "no file has a deletion vector yet"
    remove = {"path": add["path"], "dataChange": True, "deletionTimestamp": 1}
    commit(table, 2, {"remove": remove}, {"add": {**add, "deletionVector": {**DELETED_ROW, "sizeInBytes": 34}}})
    with pytest.raises(InputError, match=r"deletion vectors[\s\S]*REORG TABLE"):
        listed(table)
    commit(table, 2, {"add": {**add, "path": "file:///elsewhere.parquet"}})
    with pytest.raises(InputError, match="names files elsewhere"):
        listed(table)
    commit(table, 2, {"protocol": READER | {"readerFeatures": ["teleport"], "writerFeatures": ["teleport"]}})
    with pytest.raises(InputError, match=r"'teleport' is not supported[\s\S]*DROP FEATURE"):
        listed(table)
    commit(table, 2, {"add": add})
    os.truncate(table / "_delta_log" / f"{0:020}.json", 100)
    with pytest.raises(InputError, match="the Delta table of the predictions log cannot be read"):
        listed(table)
    (table.parent / "hudi" / ".hoodie").mkdir(parents=True)
    with pytest.raises(InputError, match="is a Hudi table"):
        listed(table.parent / "hudi")


def test_columns_that_files_do_not_have_by_their_name_are_refused_only_if_needed(scenario: Scenario) -> None:
    folder = scenario.root / "tables"
    config = with_logs(scenario, str(folder))
    write_tables(scenario, str(folder), "0.parquet")
    table = folder / "predictions"
    shutil.copy(listed(table).paths[0], table / "bare.parquet")
    commit(table, 1, {"add": {**action(table, "add"), "path": "bare.parquet"}})
    with pytest.raises(InputError, match="'site' partitions the Delta table, and neither") as caught:
        sli.plan(config)
    assert caught.value.where == str(table)
    unsliced = with_logs(scenario, str(folder), slice_by=[[]])
    assert sli.plan(unsliced).tables[0] == "predictions: Delta table, version 1, 3 files"
    chosen = unsliced.predictions.model_copy(update={"where": "site = 'A'"})
    with pytest.raises(InputError, match="'site' partitions the Delta table, and neither"):
        sli.plan(unsliced.model_copy(update={"predictions": chosen}))
    commit(table, 1, {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}, {"metaData": mapped(table)})
    with pytest.raises(InputError, match="column 'score' of the predictions log cannot be read") as caught:
        sli.plan(config)
    assert caught.value.found == "'score' has the name 'col-7' in the files of the Delta table (column mapping)"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A catalog of Iceberg tables, in a folder of its property `warehouse`."""
    pytest.importorskip("pyiceberg")
    pytest.importorskip("sqlalchemy")
    from pyiceberg.catalog.sql import SqlCatalog

    made = SqlCatalog("test", uri="sqlite:///:memory:", warehouse=f"file://{tmp_path_factory.mktemp('iceberg')}")
    made.create_namespace("logs")
    return made


def root_of(table: Any) -> Path:
    return Path(table.location().removeprefix("file://"))


@pytest.mark.filterwarnings("ignore")
def test_an_iceberg_table_is_its_current_snapshot(scenario: Scenario, catalog: Any) -> None:
    first, second = (rows_of(scenario, "predictions", name) for name in ("0.parquet", "1.parquet"))
    table = catalog.create_table("logs.predictions", schema=first.schema)
    root = root_of(table)
    assert listed(root).described_tables == ("Iceberg table without a snapshot, 0 files",)
    table.append(first)
    tree = config_of(WORLD, scenario.root) | {"store": str(scenario.root / "there")}
    tree["predictions"]["path"] = str(root)
    config = checked(tree)
    plan = sli.run(config, as_of=text(AS_OF)).plan
    number = table.current_snapshot().snapshot_id
    assert plan.tables == (f"predictions: Iceberg table, snapshot {number}, 1 file",)
    before = listed(root)
    assert before.modified == [1000 * table.current_snapshot().timestamp_ms]
    table.append(second)
    table.delete("output_id = '0-0'")
    now = listed(root)
    assert len(list((root / "data").iterdir())) > len(now.paths) == 2
    for url in (f"{root.parent}/*", root / "data", root / "data" / "*.parquet"):
        assert listed(url).paths == now.paths
    assert [f"file://{path}" for path in now.paths] == listed(f"file://{root}").paths
    (earlier,) = (root / "metadata").glob("00001-*.metadata.json")
    assert listed(earlier).paths == before.paths, "a metadata file is the table as it was then"
    sli.run(config, as_of=text(AS_OF))
    check_equal(config, scenario)
    table.overwrite(second)
    sli.run(config, as_of=text(AS_OF))
    check_equal(config, scenario)
    with table.update_schema() as update:
        update.rename_column("score", "probability")
    with pytest.raises(InputError, match="'score' is a column of the Iceberg table that was renamed"):
        sli.plan(config)
    shutil.copy(earlier, earlier.with_name(f"00099-{earlier.name[6:]}"))
    shutil.copy(earlier, earlier.with_name(f"00099-a{earlier.name[6:]}"))
    with pytest.raises(InputError, match="several newest metadata files"):
        listed(root)


@pytest.mark.filterwarnings("ignore")
def test_an_iceberg_table_with_delete_files_or_without_its_package_is_refused(
    catalog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.manifest import ManifestContent, ManifestFile

    table = catalog.create_table("logs.deletes", schema=ROWS.schema)
    table.append(ROWS)
    # This package writes no delete files.
    monkeypatch.setattr(ManifestFile, "content", property(lambda _: ManifestContent.DELETES))
    with pytest.raises(InputError, match=r"without rewriting their files[\s\S]*the delete file"):
        listed(root_of(table))
    monkeypatch.setitem(sys.modules, "pyiceberg.io.fsspec", None)
    with pytest.raises(ConfigError, match=r"pip install 'sli-recompute\[iceberg\]'"):
        listed(root_of(table))


def test_iceberg_files_are_read_where_the_metadata_is() -> None:
    as_at = iceberg._as_at
    assert as_at("/a/metadata/v1.metadata.json", "file:///a/data/x.parquet", "feedback") == "/a/data/x.parquet"
    assert as_at("file:///a/v1.metadata.json", "file:/a/x.parquet", "feedback") == "file:///a/x.parquet"
    assert as_at("s3://b/v1.metadata.json", "s3a://b/x.parquet", "feedback") == "s3://b/x.parquet"
    with pytest.raises(InputError, match="names files elsewhere"):
        as_at("/a/v1.metadata.json", "s3://b/x.parquet", "feedback")
