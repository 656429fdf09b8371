"""Histories: logs and a config that change, and runs of all kinds, in steps that Hypothesis draws.

After a run that leaves nothing undone the tables equal the oracle's. A failure shrinks to few steps and small rows, and
is printed as calls that a test can take as they are (`laws/test_histories.py`). Limit: SLIs that the oracle computes.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from beliefs import check_belief
from builders import small_world
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from oracle import Feedback, Prediction, World
from scenario import DAY, HOUR, Scenario, at, published, text

import sli
from sli.calendar.duration import Duration
from sli.calendar.interval import BEGINNING, Interval
from sli.logs import dated
from sli.maintenance import upkeep
from sli.matching import id_index
from sli.planning import listing
from sli.planning.published import Published
from sli.publishing.store import Store
from sli.runs import hour_tiles, recompute
from sli.runs.outcome import Outcome

START = at("2024-03-08T00:00")  # clocks change in New York two days later
BOTH = "count mean null_rate difference_previous difference_fixed"
COUNTS = "true_positives false_positives true_negatives false_negatives"
RATIOS = "precision recall f1 specificity positive_rate prediction_rate log_loss brier roc_auc"
SLIS = {
    "binary": f"accuracy {RATIOS} {COUNTS} quantile_50 feedback_delay_90 {BOTH}".split(),
    "regression": f"mae mse rmse bias r2 quantile_25 feedback_delay_50 {BOTH}".split(),
}
SLIDING = (
    ("sliding", "2d/1d", ("d", 2), ("d", 1)),
    ("sliding", "21600s/10800s", ("us", 6 * HOUR), ("us", 3 * HOUR)),
)


def some(values: Any, most: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True).map(tuple)


def one(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


CHANGEABLE = {
    "slice_by": some([(), ("a",), ("b",), ("a", "b")], 3),
    "grains": some(["hour", "day", "cumulative", "week", "month", *SLIDING], 4),
    "min_support": one(0, 2),
    "top": one(None, 1, 2),
}
KEYS = CHANGEABLE | {
    "zone": one("UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"),
    "since": one(START, START + 5 * HOUR),
    "early": one(0, HOUR // 2),
    "predictions_keep": one("first", "latest"),
    "feedback_keep": one("latest", "first"),
    "feedback_nulls": one("withdraw", "ignore"),
}
"""Keys of a world; one that is left out is as in `small_world`."""
# With 14 hours the hour of the first prediction is the first that is not final as of the first run.
HORIZONS = one(3 * DAY, 14 * HOUR, DAY, 2 * HOUR, 30 * DAY)


BEYOND = one(0, 0, HOUR, 8 * HOUR, None, None, -1)
"""How much longer `duplicates_within` is than it must be, so that ids are often doubled beyond it; None: not given."""


def worlds(task: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = {"task": st.just(task), "slis": some(SLIS[task], 3), "horizon": HORIZONS, "duplicates_within": BEYOND}
    return st.fixed_dictionaries(keys, optional=KEYS).map(with_duplicates_within)


def with_duplicates_within(world: dict[str, Any]) -> dict[str, Any]:
    beyond = world["duplicates_within"]
    least = world["horizon"] + world.get("early", 0)
    return {**world, "duplicates_within": beyond if beyond is None or beyond < 0 else least + beyond}


def changes(world: World) -> st.SearchStrategy[dict[str, Any]]:
    """An SLI more or less, or another value of a key."""
    more = st.sampled_from(SLIS[world.task]).map(lambda name: {"slis": tuple(dict.fromkeys([*world.slis, name]))})
    less = st.just({"slis": world.slis[1:] or world.slis})
    slices, *others = (st.fixed_dictionaries({key: values}) for key, values in CHANGEABLE.items())
    return st.one_of(more, more, more, less, slices, slices, *others)


def mostly(usual: list[Any], rare: list[Any]) -> st.SearchStrategy[Any]:
    """One in twenty or so is a rare one."""
    return st.sampled_from([*usual * math.ceil(20 * len(rare) / len(usual)), *rare])


# Few distinct times and ids, so that labels in time, ties, duplicates and windows shared by several rows are common.
DAYS, TIMES_OF_DAY = (0, 1, 0, 2, 0, -1, 1, 0, 3), (6 * HOUR, 20 * HOUR, 7 * HOUR, 6 * HOUR + 1, 0)
TIMES = [START + day * DAY + time for day in DAYS for time in TIMES_OF_DAY]
IDS = mostly(["a", "b", "c", "d"], [None])
SLICES = st.fixed_dictionaries({"a": one("x", "y", None), "b": one("1", 'q"uo,te', "")})
SCORES = mostly([0.5, 0.25, 0.75, 1.0, 0.0, None, 1 / 3], [math.nan, math.inf, 1.5])
LABELS = {
    "binary": mostly([1.0, 0.0, None], [math.nan, 0.5]),
    "regression": mostly([1.0, 0.0, 2.5, 1 / 3, None], [math.nan]),
}
# Every id is predicted early, so that a label or a prediction that is drawn mostly changes something.
FIRST = [
    Prediction(id, START + hour * HOUR, score, {"a": "xy"[hour % 2], "b": "1"})
    for id, hour, score in (("a", 6, 0.5), ("b", 7, 0.25), ("c", 14, 0.75), ("d", 19, 1.0))
]
FOLDERS = one("", "day=2024-03-06/", "day=2023-12-31/", "2024/03/07/", "2024-03-08/site=1/", "2024-03-10/", "")
"""Folders named by dates may be older than their rows, or younger; some are so old that a run does not list them."""
FILES = st.builds("{}{}.parquet".format, FOLDERS, st.integers(1, 9))
LATER = one(HOUR, DAY, 0, 5 * DAY, HOUR)
THEN = one(None, HOUR, DAY, None, 0, 5 * DAY, HOUR)
"""How long after the run before a step is followed by a run; None: no run follows."""
BACKFILLED = one(True, False)
"""Whether a run is followed by backfills of what it holds."""


def drawn(strategy: Callable[[Any], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """What a strategy of the machine draws."""
    return st.runner().flatmap(strategy)


def keep_smallest(store: Store, *_: object) -> None:
    """Maintenance as if all runs but the last had ended long ago."""
    with mock.patch.multiple(upkeep, LEAST=0, LONGEST_RUN=0):
        upkeep.keep_small(store, Duration("0s", 0, None), find_left_over=True)


class Histories(RuleBasedStateMachine):
    """Logs and a config that change in any way, and runs of all kinds."""

    scheduler: str | None = None

    @initialize(
        world=st.one_of(map(worlds, SLIS)),
        small_memory=one(False, False, False, True),
        on_cluster=drawn(lambda machine: one(False, False, machine.scheduler is not None)),
        in_files=one(False, True),
        tidied=one(False, True),
        later=one(0, 0, HOUR, DAY, None),
    )
    def begin(
        self,
        world: dict[str, Any],
        small_memory: bool = False,
        on_cluster: bool = False,
        in_files: bool = False,
        tidied: bool = False,
        later: int | None = None,
    ) -> None:
        """Most histories begin with a run, since little can go wrong before the first publication.

        In those that are `tidied` each run removes all files but those of the newest two publications.
        """
        self.patched, self.tidied = ExitStack(), tidied
        self.patched.enter_context(mock.patch.object(hour_tiles, "FEW_BYTES", -1 if in_files else hour_tiles.FEW_BYTES))
        if tidied:
            self.patched.enter_context(mock.patch.object(recompute, "keep_small", keep_smallest))
        self.as_of, self.known, self.settled = START + 20 * HOUR, dict[int, Any](), None
        self.hidden = set[str]()
        self.changed, self.partial = True, 0
        asked = small_world(**{"since": START, "horizon": 3 * DAY, "reference": (START + DAY, START + 2 * DAY)} | world)
        given = {
            **({"memory": "1KB"} if small_memory else {}),
            **({"dask": {"scheduler": self.scheduler}} if on_cluster else {}),
        }
        self.scenario = Scenario(Path(tempfile.mkdtemp(prefix="sli-history-")), asked, given, columns=("a", "b"))
        self.scenario.log_predictions("0.parquet", FIRST)
        self.then(later)

    def teardown(self) -> None:
        if hasattr(self, "scenario"):
            self.patched.close()
            shutil.rmtree(self.scenario.root)

    @property
    def times(self) -> st.SearchStrategy[int | None]:
        """Times of rows; often that of the first hour that is not final yet."""
        return mostly([*TIMES, *[self.as_of - self.scenario.world.horizon] * 9], [None])

    @property
    def predictions(self) -> st.SearchStrategy[list[Prediction]]:
        return st.lists(st.builds(Prediction, IDS, self.times, SCORES, SLICES), min_size=1, max_size=6)

    @property
    def feedback(self) -> st.SearchStrategy[list[Feedback]]:
        labels = LABELS[self.scenario.world.task]
        return st.lists(st.builds(Feedback, IDS, self.times, labels), min_size=1, max_size=6)

    @rule(file=FILES, rows=drawn(lambda machine: machine.predictions), later=THEN, backfilled=BACKFILLED)
    def log_predictions(
        self, file: str, rows: list[Prediction], later: int | None = None, backfilled: bool = True
    ) -> None:
        """A new file, or one that is written again."""
        self.scenario.log_predictions(file, rows)
        self.hidden.add(file)
        self.then(later, backfilled)

    @rule(file=FILES, rows=drawn(lambda machine: machine.feedback), later=THEN, backfilled=BACKFILLED)
    def log_feedback(self, file: str, rows: list[Feedback], later: int | None = None, backfilled: bool = True) -> None:
        self.scenario.log_feedback(file, rows)
        self.hidden.add(file)
        self.then(later, backfilled)

    @precondition(lambda self: self.files)
    @rule(file=drawn(lambda machine: st.sampled_from(machine.files)), later=THEN, backfilled=BACKFILLED)
    def remove(self, file: tuple[str, str], later: int | None = None, backfilled: bool = True) -> None:
        self.scenario.remove(*file)
        self.hidden.add(file[1])
        self.then(later, backfilled)

    @property
    def files(self) -> list[tuple[str, str]]:
        """The files that steps wrote."""
        logs = (("predictions", self.scenario.predictions), ("feedback", self.scenario.feedback))
        return [(log, name) for log, files in logs for name in files if name != "0.parquet"]

    @rule(changes=drawn(lambda machine: changes(machine.scenario.world)), later=THEN, backfilled=BACKFILLED)
    def change_config(self, changes: dict[str, Any], later: int | None = None, backfilled: bool = True) -> None:
        self.scenario.world = replace(self.scenario.world, **changes)
        self.then(later, backfilled)

    def then(self, later: int | None, backfilled: bool = True) -> None:
        """What follows a change."""
        self.changed = True
        if later is not None:
            self.run(later, backfilled)

    @precondition(lambda self: self.changed)
    @rule(later=LATER, backfilled=BACKFILLED)
    def run(self, later: int, backfilled: bool = True) -> None:
        """A run; then backfills of what is held until nothing is, since one may take a prediction from a final tile."""
        self.as_of += later
        before = self.scenario.published
        outcome = self.run_until_listed()
        self.check_final(outcome.plan.held)
        self.check_held(outcome.plan.held, before)
        # States and slices new to the config wait for the next run where hours are confirmed, or while some are held.
        waits = bool(outcome.plan.to_confirm)
        if backfilled and outcome.plan.held:
            waits = True
            for _ in range(5):
                for held in outcome.plan.held:
                    outcome = self.scenario.backfill(self.as_of, text(held.start), text(held.end))
        if waits:
            outcome = self.run_until_listed()
        if backfilled or not outcome.plan.held:
            self.scenario.check(self.as_of)
        if outcome.published:
            assert not self.scenario.run(self.as_of).published
        self.remember(self.as_of)
        self.changed, self.partial, self.settled = bool(outcome.plan.held), 0, self.scenario.world

    def run_until_listed(self) -> Outcome:
        """A run, and another one that lists everything if the first one did not, and files changed that are old."""
        outcome = self.scenario.run(self.as_of)
        if any(self.is_older(name, outcome.plan.since) for name in self.hidden):
            outcome = self.scenario.run(self.as_of, full_listing=True)
        if outcome.plan.since == BEGINNING:
            self.hidden.clear()
        return outcome

    def is_older(self, name: str, since: int) -> bool:
        """Whether a file lies in a folder with a date that a run from this instant on does not list."""
        day = re.search(r"20\d\d.\d\d.\d\d", name)
        return day is not None and at(day[0].replace("/", "-")) + DAY < since

    def check_final(self, held: Iterable[Interval]) -> None:
        """Only final tiles are held, and what was final stays, if nothing waited and nothing else is asked for."""
        for tile in held:
            last = max(self.known)
            assert tile.end + self.scenario.world.horizon <= last, f"{tile} is held, but not final as of {text(last)}"
        if self.known and self.settled == self.scenario.world:
            found = published(self.scenario.config)
            for key, row in self.known[max(self.known)].items():
                # A fixed reference may change later than the windows compared with it.
                if row[-1] == "final" and key[0] != "difference_fixed":
                    assert found.get(key, row) == row, f"{key} was final as {row} and now is {found[key]}"

    def check_held(self, held: Iterable[Interval], before: Published | None) -> None:
        """Held tiles count what they counted, and gain no states or slices, which would count other rows."""
        # If no slice set is left of the published ones, the new ones come at once: nothing published counts otherwise.
        now = self.scenario.published
        if not held or before is None or now is None or not {*before.slice_sets} & {*now.slice_sets}:
            return
        old, new = self.scenario.tiles(before), self.scenario.tiles(self.scenario.published)
        for key, row in new.items():
            if any(tile.start <= key[0] < tile.end for tile in held):
                gained = [
                    name for name, value in row.items() if value is not None and value != old.get(key, {}).get(name)
                ]
                assert not gained, f"{key} is held, but has another {gained}"

    @precondition(lambda self: self.changed and self.partial < 2)
    @rule(later=LATER, look_back=one("0h", "6h", "1d", "2d"))
    def run_looking_back(self, later: int, look_back: str) -> None:
        self.as_of += later
        self.scenario.run(self.as_of, look_back=look_back)
        self.partial += 1
        self.remember(self.as_of)

    @precondition(lambda self: self.settled and len(self.known) == 3)
    @rule(earlier=one(HOUR, DAY))
    def run_as_of_earlier(self, earlier: int) -> None:
        """It computes everything from scratch, so a history has only one or two of them."""
        as_of = max(self.as_of - earlier, START + 6 * HOUR)
        # The newest run may have published nothing; then one as of the run before it is not older.
        older = self.scenario.published is not None and as_of < self.scenario.published.as_of
        self.scenario.run(as_of)
        if older:
            self.scenario.check(as_of, read_as_of=as_of)
        self.remember(as_of)

    @precondition(lambda self: self.changed and self.partial < 2)
    @rule(
        first=one(0, 7, 14),
        hours=one(72, 10, 1),
        chunk=one(None, "1d"),
        slis=drawn(lambda machine: machine.slis_to_backfill),
    )
    def backfill(self, first: int, hours: int, chunk: str | None = None, slis: tuple[str, ...] = ()) -> None:
        start = self.scenario.world.since + first * HOUR
        sli.backfill(
            self.scenario.config,
            start=text(start),
            end=text(start + hours * HOUR),
            sli=slis,
            chunk=chunk,
            as_of=text(self.as_of),
        )
        self.partial += 1
        self.remember(self.as_of)

    @property
    def slis_to_backfill(self) -> st.SearchStrategy[tuple[str, ...]]:
        """One SLI, if anything is published that it may lack, or none, which means everything."""
        return st.just(()) | some(self.scenario.world.slis, 1) if self.known else st.just(())

    def remember(self, as_of: int) -> None:
        self.settled = None
        self.known[as_of] = published(self.scenario.config, as_of)

    @precondition(lambda self: self.known)
    @rule(
        as_of=drawn(lambda machine: st.sampled_from(sorted(machine.known))),
        hours=one(0, -1, 1),
        window=st.integers(0, 99),
    )
    def read(self, as_of: int, hours: int, window: int) -> None:
        """What was read as of a time is read again, and windows merged from the tiles of then are the same."""
        found, expected = published(self.scenario.config, as_of), self.known[as_of]
        assert found == expected, f"as of {text(as_of)}: {found} is not {expected}"
        check_belief(self.scenario, as_of + hours * HOUR, window, tidied=self.tidied)

    # A rule is drawn as often as it has names.
    log_predictions_2, log_feedback_2, change_config_2 = log_predictions, log_feedback, change_config


SETTINGS = settings(stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))


def play(how: settings, scheduler: str | None = None, machine: type[Histories] = Histories) -> None:
    """Play histories; with a scheduler some of them on its cluster. The index forgets so soon that it often has to.

    Also folders are so soon too old to be listed.
    """
    Histories.scheduler = scheduler
    with (
        mock.patch.object(id_index, "WEEK", 6 * HOUR),
        mock.patch.object(dated, "WEEK", DAY),
        mock.patch.object(listing, "SLACK", HOUR),
        mock.patch.object(listing, "MOST_FILES", 0),
    ):
        run_state_machine_as_test(machine, settings=how)
