"""Credentials appear in no message, table, plan or parameter, whatever the config says."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import yaml
from builders import config_tree
from desk import Desk

from sli import masking
from sli.command.cli import main
from sli.config.load import checked, load_config
from sli.engine.storage import Storage, message_of
from sli.errors import ConfigError, EngineError, StoreError
from sli.masking import holds_credentials, keep_secret, masked
from sli.matching import cluster

SECRETS = ["AKIDEXAMPLE9", "wJalr/XUtnFEMI+K7", "hunter2hunter2", "sessiontoken77", "env-secret-value", "q5"]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_REPLACEMENTS", {})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKIDEXAMPLE9:wJalr/XUtnFEMI+K7@bucket/p", "s3://***@bucket/p"),
        (
            "no route to sftp://me:hunter2hunter2@host:22/x (tried twice)",
            "no route to sftp://***@host:22/x (tried twice)",
        ),
        ("tcp://me:hunter2hunter2@scheduler:8786", "tcp://***@scheduler:8786"),
        ("https://sessiontoken77@host/x", "https://***@host/x"),
        (
            "'https://host/a.parquet?X-Amz-Signature=hunter2hunter2&v=1'",
            "'https://host/a.parquet?X-Amz-Signature=***&v=1'",
        ),
        ("https://a.blob/x?sv=1&sig=hunter2hunter2", "https://a.blob/x?sv=1&sig=***"),
    ],
)
def test_what_a_url_tells_of_who_asks_is_masked(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown
    assert holds_credentials(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/model@v2/x",
        "http://minio:9000/a@b",
        "memory://logs/predictions",
        "/data/key=5/a.parquet",
        "file:///a/b?c",
        "a setting must be key=value",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert masked(text) == text
    assert not holds_credentials(text)


def test_a_short_secret_is_not_looked_for_within_words() -> None:
    keep_secret("prod", "${STAGE}")
    keep_secret("no")
    assert masked("/data/prod/x of products, no") == "/data/${STAGE}/x of products, no"


def test_what_storage_calls_a_secret_is_masked_in_every_error_here_and_on_workers() -> None:
    storage = Storage.from_config(
        {"s3": {"key": SECRETS[0], "secret": SECRETS[1], "endpoint": "http://minio:9000"}, "gcs": {"token": SECRETS[3]}}
    )
    travelling = pickle.dumps(storage)
    masking._REPLACEMENTS.clear()
    pickle.loads(travelling)
    told = f"denied at http://minio:9000 for {SECRETS[0]} with {SECRETS[1]!r} or wJalr%2FXUtnFEMI%2BK7, {SECRETS[3]}"
    error = StoreError(
        "the store cannot be read", where=f"s3://{SECRETS[0]}/x", found=message_of(OSError(told)), others=told
    )
    for said in (
        str(error),
        str(pickle.loads(pickle.dumps(error))),
        json.dumps(error.to_dict()),
        message_of(OSError(told)),
    ):
        assert not [each for each in SECRETS if each in said or "wJalr" in said]
        assert "minio:9000" in said


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"predictions__path": "s3://AKIDEXAMPLE9:wJalr/XUtnFEMI+K7@bucket/p"}, "predictions.path"),
        ({"feedback__path": "https://host/f?sig=hunter2hunter2"}, "feedback.path"),
        ({"store": "s3://AKIDEXAMPLE9:hunter2hunter2@bucket/s"}, "store"),
        (
            {"slice_by": [["region"]], "bins": {"region": {"quantiles": 4, "table": "ftp://a:hunter2hunter2@h/x"}}},
            "ftp://***@h/x",
        ),
        ({"predictions": "sftp://a:hunter2hunter2@h/x"}, "predictions"),
        ({"storage": {"s3": {"key": "AKIDEXAMPLE9", "secret": "hunter2hunter2", "profile": "p"}}}, "storage.s3"),
        ({"storage": {"s3": {"secrt": "hunter2hunter2"}}}, "storage.s3.secrt"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
@pytest.mark.parametrize("how", [[], ["--json"]], ids=["text", "json"])
def test_no_error_repeats_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], where: str, how: list[str]
) -> None:
    desk = Desk.made(tmp_path, capsys)
    desk.predictions(region=list("abcdef"))
    desk.configure(**changes)
    said = desk.run(*how)
    assert said.code in (2, 4)
    assert where in said.out + said.err
    assert not [each for each in SECRETS if each in said.out + said.err]


def test_the_address_of_a_scheduler_is_shown_without_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", "0.1s")
    config = checked({**config_tree(), "dask": {"scheduler": "tcp://me:hunter2hunter2@127.0.0.1:9"}})
    with pytest.raises(EngineError) as caught, cluster.open_client(config, 2):
        pass
    assert "tcp://***@127.0.0.1:9" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_config_full_of_secrets_leaves_none_of_them_in_the_store_or_in_what_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk.made(tmp_path, capsys)
    desk.predictions(score=[None, 0.2, 0.4, 0.6, 0.8, float("nan")])
    (tmp_path / "predictions/damaged.parquet").write_bytes(b"PAR1")
    monkeypatch.setenv("SLI_TEST_SECRET", SECRETS[4])
    monkeypatch.setenv("SLI_TEST_ROOT", str(tmp_path))
    desk.configure(
        store="${SLI_TEST_ROOT}/store",
        storage={
            "s3": {"key": SECRETS[0], "secret": "${SLI_TEST_SECRET}", "token": SECRETS[3]},
            "sftp": {"username": "me", "password": SECRETS[2]},
        },
    )
    said = []
    for command in ("plan", "run", "plan", "show", "verify"):
        for how in ([], ["--json"]):
            moment = ["--as-of", "2024-02-01"] if command in ("plan", "run") else []
            code = main([command, str(desk.config), *moment, *how])
            assert code in (0, 3), capsys.readouterr()
            said.append(capsys.readouterr())
    for table in ("audit", "runs", "revisions"):
        assert main(["show", str(desk.config), "--table", table, "--json"]) == 0
        said.append(capsys.readouterr())
    files = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(files) > 10
    for secret in SECRETS[:5]:
        assert not [each for each in said if secret in each.out + each.err]
        assert not [each for each in files if secret.encode() in each]
    whole = "".join(each.out + each.err for each in said)
    assert str(tmp_path) not in whole
    assert "${SLI_TEST_ROOT}/predictions/damaged.parquet" in whole


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "${SLI_TEST_SECRET}"),
        ("slis", [{"sli": "accuracy", "name": "a-${SLI_TEST_SECRET}"}]),
        ("slice_by", [["${SLI_TEST_SECRET}"]]),
        ("timezone", "${SLI_TEST_SECRET}"),
        ("slis", [{"name": "x", "states": {"n": "count(*)"}, "value": "'${SLI_TEST_SECRET}'"}]),
        ("dask", {"factory": "${SLI_TEST_SECRET}:f"}),
    ],
)
def test_the_environment_is_not_read_where_it_would_be_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object
) -> None:
    monkeypatch.setenv("SLI_TEST_SECRET", SECRETS[4])
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({**config_tree(), key: value}))
    with pytest.raises(ConfigError, match="environment variables are not read in this key") as caught:
        load_config(path)
    assert f"key {key}" in caught.value.where
    assert SECRETS[4] not in str(caught.value)


def test_a_setting_may_name_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLI_TEST_SECRET", SECRETS[4])
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(config_tree()))
    config = load_config(path, ["storage.s3.key=me-myself", "storage.s3.secret=${SLI_TEST_SECRET}"])
    assert config.storage.s3["secret"] == SECRETS[4]
    for setting in ("storage.s3=hunter2hunter2", "storage.s3.secret=[hunter2hunter2"):
        with pytest.raises(ConfigError) as caught:
            load_config(path, [setting])
        assert "hunter2" not in str(caught.value)


def test_a_config_made_in_python_masks_too() -> None:
    tree = config_tree() | {"storage": {"s3": {"key": SECRETS[0], "secret": SECRETS[1]}}}
    config = checked(tree)
    assert not [each for each in SECRETS if each in repr(config)]
    assert masked(f"x {SECRETS[1]} x") == "x *** x"
