"""Logs and store on S3, against a real server: the same tables as in a folder; and storage that fails."""

from __future__ import annotations

import json
import os
import pickle
import socket
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
import servers
from builders import small_world
from faulty import On, fails, faulty
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, published, text

import sli
from sli.config.load import checked
from sli.config.model import Config
from sli.engine.storage import Storage, check_exclusive_writes, filesystem
from sli.errors import ConfigError, EngineError, InputError, SliError, StoreError
from sli.logs.log import predictions_log
from sli.publishing.store import Store
from sli.reading.sql.execute import sql_rows

MONDAY = at("2024-01-15T00:00")
WORLD = small_world(slice_by=((), ("site",)), grains=("hour", "day", "cumulative"), slis=("accuracy", "roc_auc"))
AS_OF = MONDAY + 10 * DAY
KEY, SECRET = servers.KEYS["AWS_ACCESS_KEY_ID"], servers.KEYS["AWS_SECRET_ACCESS_KEY"]


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    made = Scenario(tmp_path, WORLD)
    for day in range(3):
        rows = [
            Prediction(f"{day}-{h}", MONDAY + day * DAY + h * HOUR, h / 24, {"site": "ab"[h % 2]}) for h in range(24)
        ]
        made.log_predictions(f"day={day}.parquet", rows)
        made.log_feedback(f"day={day}.parquet", [Feedback(r.id, (r.time or 0) + HOUR, 1.0) for r in rows[::2]])
    return made


def upload(scenario: Scenario, url: str) -> None:
    """As another process would: nothing that this one remembers of the server is told of it."""
    options = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "skip_instance_cache": True}
    fs = fsspec.filesystem("s3", **options)
    for path in sorted(scenario.root.glob("*/*.parquet")):
        fs.pipe_file(f"{url}/{path.relative_to(scenario.root)}", path.read_bytes())


def moved(scenario: Scenario, url: str, **settings: Any) -> Config:
    """The scenario's config with logs and store below a URL."""
    tree = config_of(scenario.world, scenario.root) | {"store": f"{url}/store"} | settings
    for log in ("predictions", "feedback"):
        tree[log]["path"] = f"{url}/{log}"
    return checked(tree)


@pytest.fixture
def nowhere(s3: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An environment that leads nowhere, and the `storage` of a config that leads to the S3 server."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    for name in (*servers.KEYS, "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-key")
    assert s3
    return {"s3": {"endpoint": endpoint, "key": KEY, "secret": SECRET, "region": "us-east-1"}}


def test_logs_and_store_on_s3_give_the_tables_of_a_folder(scenario: Scenario, s3: str) -> None:
    there = moved(scenario, s3)
    upload(scenario, s3)
    scenario.run(AS_OF)
    assert sli.run(there, as_of=text(AS_OF)).published
    assert published(there) == published(scenario.config)
    assert not sli.run(there, as_of=text(AS_OF)).published
    late = [Feedback(f"0-{h}", MONDAY + (h + 1) * HOUR, 0.0) for h in range(1, 24, 2)]
    scenario.log_feedback("late.parquet", late)
    upload(scenario, s3)
    assert sli.run(there, as_of=text(AS_OF)).plan.held
    done = sli.backfill(there, start="2024-01-15", end="2024-01-16", as_of=text(AS_OF))
    assert set(done.changes.cause) == {"late feedback"}
    scenario.run(AS_OF)
    scenario.backfill(AS_OF, "2024-01-15", "2024-01-16")
    assert published(there) == published(scenario.config)
    assert sli.verify(there, windows=None).equal


def test_sql_on_s3_gives_the_rows_of_a_folder_and_asks_only_for_files_that_can_matter(
    scenario: Scenario, nowhere: dict[str, Any], s3: str
) -> None:
    scenario.run(AS_OF)
    fs = fsspec.filesystem("s3", endpoint_url=nowhere["s3"]["endpoint"], key=KEY, secret=SECRET)
    for path in sorted((scenario.root / "store").rglob("*.*")):
        # Of the files of the last day: another one would not be found.
        if path.is_file() and (path.suffix != ".parquet" or "day=2024-01-17" in str(path) or "_delta_log" in str(path)):
            fs.pipe_file(f"{s3}/store/{path.relative_to(scenario.root / 'store')}", path.read_bytes())
    there = moved(scenario, s3, storage=nowhere)
    statement = "from current where window_start >= '2024-01-17' order by all"

    def rows(config: Config) -> list[dict[str, Any]]:
        found = sql_rows(config, statement)
        return pa.Table.from_batches(found.batches, found.schema).to_pylist()

    assert rows(there) == rows(scenario.config)
    assert len(rows(there)) > 24
    with pytest.raises(StoreError) as error:
        [*sql_rows(there, "select count(value) from daily").batches]
    assert SECRET not in str(error.value)


def test_a_store_on_s3_is_amended_by_keys_read_from_there(scenario: Scenario, s3: str) -> None:
    there, as_of = moved(scenario, s3), MONDAY + 2 * DAY + 12 * HOUR
    upload(scenario, s3)
    sli.run(there, as_of=text(as_of))
    scenario.run(as_of)
    scenario.log_feedback("late.parquet", [Feedback("2-1", MONDAY + 2 * DAY + 9 * HOUR, 0.0)])
    late = (scenario.root / "feedback" / "late.parquet").read_bytes()
    fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).pipe_file(f"{s3}/feedback/late.parquet", late)
    scenario.run(as_of)
    assert sli.run(there, as_of=text(as_of)).plan.new_rows is not None
    assert published(there) == published(scenario.config)


def test_credentials_of_the_config_reach_the_workers_and_are_told_to_nobody(
    scenario: Scenario, s3: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    upload(scenario, s3)
    storage = request.getfixturevalue("nowhere")
    there = moved(scenario, s3, dask={"workers": 2}, storage=storage)
    outcome = sli.run(there, as_of=text(AS_OF))
    scenario.run(AS_OF)
    assert published(there) == published(scenario.config)
    fs, root = filesystem(f"{s3}/store", there.storage)
    stored = b"".join(fs.cat_file(path) for path in fs.find(root))
    assert stored
    shown = [repr(there), repr(outcome), json.dumps(outcome.plan.to_dict()), repr(predictions_log(there))]
    for each in (stored, pickle.dumps(outcome.plan), *(one.encode() for one in shown)):
        assert SECRET.encode() not in each
    wrong = {"s3": {**storage["s3"], "secret": "a-wrong-secret"}}
    for refused in (moved(scenario, s3, storage=wrong), moved(scenario, s3, storage=wrong, store=str(tmp_path / "x"))):
        with pytest.raises(SliError) as caught:
            sli.run(refused, as_of=text(AS_OF))
        assert "a-wrong-secret" not in "".join(traceback.format_exception(caught.value))


def test_credentials_and_endpoint_of_a_profile_serve_logs_and_store(
    s3: str, nowhere: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = nowhere["s3"]
    profile = f"[profile mine]\nendpoint_url = {given['endpoint']}\nregion = us-east-1\n"
    (tmp_path / "config").write_text(profile)
    keys = f"[mine]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(keys)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with pytest.raises(StoreError, match="the profile gives no credentials"):
        Store(f"{s3}/store", Storage.from_config({"s3": {"profile": "none"}}))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    for storage in ({}, {"s3": {"profile": "mine"}}):
        there = Storage.from_config(storage)
        fs, root = filesystem(f"{s3}/logs/a", there)
        fs.pipe_file(root, b"x")
        assert fs.cat_file(root) == b"x"
        assert Store(f"{s3}/store", there).published() is None


@pytest.mark.parametrize(
    ("storage", "where", "what"),
    [
        ({"s3": {"secert": SECRET}}, "storage.s3.secert", "did you mean 'secret'"),
        ({"s3": {"secret": SECRET}}, "storage.s3", "a key needs its secret"),
        ({"s3": {"key": KEY, "secret": SECRET, "profile": "p"}}, "storage.s3", "both a key and a profile"),
        ({"s3": {"endpoint": "minio:9000"}}, "storage.s3.endpoint", "not an address"),
        ({"s3": {"key": 7, "secret": SECRET}}, "storage.s3.key", "must be text"),
        ({"gcss": {"token": SECRET}}, "storage", "did you mean 'gcs'"),
        (SECRET, "storage", "mapping"),
    ],
)
def test_wrong_storage_is_refused_by_its_key_and_no_value_repeated(
    scenario: Scenario, storage: Any, where: str, what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        moved(scenario, "s3://away", storage=storage)
    assert caught.value.where == f"config, {where}"
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_two_runs_at_once_on_s3_lose_nothing(scenario: Scenario, s3: str) -> None:
    there = moved(scenario, s3)
    upload(scenario, s3)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            sli.run(there, as_of=text(AS_OF))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not errors
    scenario.run(AS_OF)
    assert published(there) == published(scenario.config)
    assert len(sli.read(there, table="runs")) == 1


def test_a_store_where_nobody_listens_fails_within_seconds(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for name, value in {**servers.KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"the store cannot be read[\s\S]*check the address") as caught:
            sli.run(moved(scenario, "s3://away/x"), as_of=text(AS_OF))
        with pytest.raises(InputError, match="cannot be listed"):
            sli.run(checked({**config_of(WORLD, scenario.root), "predictions": away()}), as_of=text(AS_OF))
    assert caught.value.passes
    assert "\x1b" not in str(caught.value)
    assert time.monotonic() - began < 30


def away() -> dict[str, str]:
    return {"path": "s3://away/predictions", "id": "output_id", "time": "predicted_at", "value": "score"}


def test_a_store_that_would_lose_one_of_two_commits_is_refused(
    careless_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**servers.KEYS, "AWS_ENDPOINT_URL": careless_server}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match="the object store ignores conditional writes"):
        check_exclusive_writes("s3://bucket/store")


def test_a_store_that_keeps_commits_apart_is_accepted_and_the_probe_is_gone(s3: str) -> None:
    check_exclusive_writes(f"{s3}/store")
    fs, root = filesystem(f"{s3}/store")
    assert not any("_probe" in path for path in fs.find(root))


def test_a_remote_file_whose_footer_makes_no_sense_is_set_aside(scenario: Scenario, s3: str) -> None:
    there = moved(scenario, s3)
    upload(scenario, s3)
    fs, root = filesystem(s3)
    for name, content in {"garbage": b"no Parquet", "footer": b"PAR1" + b"x" * 40 + b"\x20\0\0\0PAR1"}.items():
        fs.pipe_file(f"{root}/feedback/{name}.parquet", content)
    outcome = sli.run(there, as_of=text(AS_OF))
    assert [row["check"] for row in outcome.newly_bad.to_pylist()] == ["unreadable"] * 2
    scenario.run(AS_OF)
    assert published(there) == published(scenario.config)


@pytest.mark.parametrize("when", ["footers", "pages"])
def test_storage_that_is_away_for_a_moment_takes_no_row_out_of_the_tables(
    scenario: Scenario, tmp_path: Path, when: str
) -> None:
    memory = fsspec.filesystem("memory")
    url = f"memory://{tmp_path.name}"
    for path in sorted(scenario.root.glob("*/*.parquet")):
        memory.pipe_file(f"/{tmp_path.name}/{path.relative_to(scenario.root)}", path.read_bytes())
    there = moved(scenario, url, store=str(tmp_path / "store"))
    sli.run(there, as_of=text(AS_OF))
    before = published(there)
    memory.pipe_file(f"/{tmp_path.name}/feedback/new.parquet", (scenario.root / "feedback/day=0.parquet").read_bytes())
    # Of the known files only pages are read.
    read, away = {"footers": "new", "pages": "day=?"}[when], fails(ConnectionError("reset by peer"))
    kind = InputError if when == "footers" else EngineError
    with (
        faulty(On(f"* {read}.parquet", away, 0)),
        pytest.raises(kind, match="could not be fetched") as caught,
    ):
        sli.backfill(there, start="2024-01-15", end="2024-01-18", as_of=text(AS_OF))
    assert caught.value.passes
    assert published(there) == before
    sli.backfill(there, start="2024-01-15", end="2024-01-18", as_of=text(AS_OF))
    assert published(there) == before
