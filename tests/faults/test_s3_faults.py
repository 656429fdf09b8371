"""A real S3 server behind a proxy that fails or lies, at each request of a run: it ends right, or with an error of ours
and what was published before; the next run leaves what a folder has."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pytest
import servers
from builders import small_world
from oracle import Feedback, Prediction
from s3_proxy import FOR_GOOD, LOST, Fault, Proxy, Request, faults_of, s3_proxy
from scenario import DAY, HOUR, Scenario, at, config_of, published, text

import sli
from sli.config.load import checked
from sli.config.model import Config
from sli.errors import SliError, UnknownCommitError
from sli.publishing import turns
from sli.runs import recompute

START = at("2024-03-08T00:00")
FIRST, AS_OF = START + DAY, START + DAY + 6 * HOUR
WORLD = small_world(horizon=30 * DAY, since=START, slice_by=((), ("a",)), grains=("day",))


def logged(scenario: Scenario, number: int) -> None:
    rows = [Prediction(f"{number}-{i}", START + number * HOUR + i, i / 4, {"a": "xy"[i % 2]}) for i in range(4)]
    scenario.log_predictions(f"{number}.parquet", rows)
    known = [
        Feedback(f"{day}-{i}", START + number * HOUR, 1.0) for day in {number, max(0, number - 1)} for i in range(3)
    ]
    scenario.log_feedback(f"{number}.parquet", known)


class OnS3:
    """A store on S3 with one publication, and logs that have grown since; put back as it was before each fault."""

    def __init__(self, scenario: Scenario, server: str, url: str, proxy: Proxy) -> None:
        self.scenario, self.url, self.proxy, self.tries = scenario, url, proxy, 0
        self.fs = fsspec.filesystem("s3", endpoint_url=server, use_listings_cache=False)
        logged(scenario, 0)
        self.upload()
        self.config = self.at("before")
        sli.run(self.config, as_of=text(FIRST))
        logged(scenario, 1)
        self.upload()
        self.objects = {path: self.fs.cat_file(path) for path in self.fs.find(f"{url}/before")}
        self.before = published(self.config)
        scenario.run(AS_OF)
        scenario.check(AS_OF)
        self.after = published(scenario.config)

    def upload(self) -> None:
        for path in sorted(self.scenario.root.glob("*/*.parquet")):
            place = f"{self.url}/{path.relative_to(self.scenario.root)}"
            if not self.fs.exists(place):
                self.fs.pipe_file(place, path.read_bytes())

    def at(self, store: str) -> Config:
        """The config with logs and a store on S3."""
        tree = config_of(self.scenario.world, self.scenario.root) | {"store": f"{self.url}/{store}"}
        for log in ("predictions", "feedback"):
            tree[log]["path"] = f"{self.url}/{log}"
        return checked(tree)

    def restored(self) -> Config:
        self.proxy.begin()
        self.tries += 1
        store = f"try-{self.tries}"
        places = {f"{self.url}/{store}/{name.split('/before/')[1]}": content for name, content in self.objects.items()}
        self.fs.pipe(places)
        return self.at(store)

    def requests(self, call: Callable[[Config], Any]) -> list[Request]:
        """The requests of an undisturbed call."""
        config = self.restored()
        self.proxy.begin()
        call(config)
        found = self.proxy.requests
        self.proxy.begin()
        return found

    def outcome(self, config: Config, fault: Fault, call: Callable[[Config], Any]) -> str:
        """How a call ends that meets a fault; what is published then is what was before, or all of the new."""
        self.proxy.begin(fault)
        try:
            call(config)
            outcome = "ended right"
        except UnknownCommitError:
            outcome = "unknown"
        except SliError as error:
            outcome = "failed" if error.todo or error.passes else f"failed without advice: {error}"
        met = self.proxy.met
        self.proxy.begin()
        if not met:
            return "no longer asked"
        now = published(config)
        # What a listing does not name counts in the next run.
        assert now in (self.before, self.after) or fault.what == "stale", fault
        assert outcome != "failed" or now == self.before, f"{fault}: published, though it says that it failed"
        return outcome

    def assert_right(self, config: Config) -> None:
        """After one more run all is as in a folder, and every publication is there once."""
        sli.run(config, as_of=text(AS_OF))
        assert published(config) == self.after
        runs = sli.read(config, table="runs").sequence
        assert list(runs) == [*range(1, len(runs) + 1)]


def run(config: Config) -> None:
    sli.run(config, as_of=text(AS_OF))


def read(config: Config) -> None:
    sli.read(config)
    sli.query(config, "accuracy", start=text(START), end=text(START + DAY))


@pytest.fixture(scope="module")
def on_s3(s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnS3]:
    folder = tmp_path_factory.mktemp("s3-faults")
    with s3_proxy(s3_server, folder) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "PATIENCE", 0)
        patch.setattr(recompute.time, "sleep", lambda _: None)
        for name, value in {**servers.KEYS, "AWS_ENDPOINT_URL": proxy.address}.items():
            patch.setenv(name, value)
        yield OnS3(Scenario(folder / "world", WORLD), s3_server, f"s3://sli/{folder.name}-{os.getpid()}", proxy)


SAMPLE = [
    Fault(Request(name, 1), what)
    for name, what in (
        ("LIST feedback folder", "stale"),
        ("GET keys commit", "half of its reply comes"),
        ("GET predictions file", f"403{FOR_GOOD}"),
        ("PUT tiles commit", LOST),
        ("PUT runs commit", "it does not arrive"),
    )
]
"""Faults of requests before the one that publishes."""


def test_what_fails_before_the_commit_on_s3_leaves_the_old_results_and_the_next_run_completes_them(on_s3: OnS3) -> None:
    """One after another, each on top of what the others left."""
    config, outcomes = on_s3.restored(), Counter[str]()
    for fault in SAMPLE:
        outcome = on_s3.outcome(config, fault, run)
        outcomes[outcome] += 1
        if outcome == "ended right":
            on_s3.assert_right(config)
            config = on_s3.restored()
    on_s3.assert_right(config)
    print(f"{len(SAMPLE)} faults of requests before the commit: {dict(outcomes)}")


COMMIT = Request("PUT results commit", 1)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (f"{LOST}{FOR_GOOD}", "unknown"),
        ("403", "failed"),
        ("412", "ended right"),
        pytest.param(LOST, "ended right", marks=pytest.mark.soak),
        pytest.param("it does not arrive", "ended right", marks=pytest.mark.soak),
    ],
)
def test_a_commit_on_s3_whose_outcome_is_not_known_is_told_so_and_found_out_by_the_next_run(
    on_s3: OnS3, what: str, expected: str
) -> None:
    config = on_s3.restored()
    assert on_s3.outcome(config, Fault(COMMIT, what), run) == expected
    on_s3.assert_right(config)


@pytest.mark.soak
@pytest.mark.parametrize("call", [run, read])
@pytest.mark.parametrize("tenth", range(10))
def test_whatever_request_to_s3_fails_in_whatever_way(on_s3: OnS3, call: Callable[[Config], Any], tenth: int) -> None:
    requests = on_s3.requests(call)
    faults = [Fault(request, what) for request in requests for what in faults_of(request)]
    config, outcomes = on_s3.restored(), Counter[str]()
    for fault in faults[tenth::10]:
        outcome = on_s3.outcome(config, fault, call)
        outcomes[outcome] += 1
        if outcome in ("ended right", "unknown") and call is run:
            on_s3.assert_right(config)
            config = on_s3.restored()
    on_s3.assert_right(config)
    print(f"{len(requests)} requests of a {call.__name__}, {outcomes.total()} faults: {dict(outcomes)}")
    assert not [outcome for outcome in outcomes if outcome.startswith("failed without")]
