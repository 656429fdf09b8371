"""Servers shared by all tests, each started once and only if a test asks for it."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest
import servers
from databases import Database, database_of
from hypothesis import settings

from sli.planning import costs

# Before anybody imports NumPy: the workers of `make test` take all cores, and threads of the algebra only wait.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# New examples each time, and many: `make fuzz`.
settings.register_profile("fuzz", max_examples=2000, deadline=None)

# A shell that starts the tests in the background has SIGINT ignored, by all they start too; some send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an S3 server with a bucket `sli`."""
    with servers.s3(tmp_path_factory.mktemp("s3"), "sli") as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A prefix of its own on the S3 server, which the environment leads to."""
    for name, value in {**servers.KEYS, "AWS_ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(name, value)
    return f"s3://sli/{os.getpid()}-{abs(hash(request.node.nodeid))}"


@pytest.fixture
def careless_server() -> Iterator[str]:
    """The endpoint of an S3 server that accepts every write, whatever its conditions."""
    with servers.careless_s3() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Postgres]:
    with servers.postgres("postgres", "the-admin's-own", "home") as server:
        yield server


@pytest.fixture
def database(postgres_server: servers.Postgres) -> Iterator[Database]:
    """A database of its own on the PostgreSQL server."""
    with database_of(postgres_server) as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def amends_where_it_can() -> Iterator[None]:
    """The logs of a test are so small that recomputing is always cheaper; amending is tested all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "AMENDING", -1.0)
        yield


LONGEST = (
    *("test_flows.py", "test_races.py", "test_catalogue.py", "test_semantics.py", "test_readme.py", "test_kills.py"),
    *("test_backfill.py", "test_storage.py", "test_references.py", "test_amending.py", "test_equal_tables.py"),
    *("test_real_data.py", "test_histories.py", "test_query.py", "test_s3.py", "test_difference.py", "test_explain.py"),
    *("test_strategies.py", "test_bad_input.py", "test_memory.py", "test_planted_faults.py", "test_verify.py"),
    *("test_kinds.py", "test_execute.py", "test_id_index.py", "test_hostile_files.py"),
)
"""The files that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that the workers of `make test` end at nearly the same time."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


def pytest_collection_finish() -> None:
    """What is imported stays: no test looks through it for garbage again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
