"""Logs that grow by an hour at a time while something is away, and what runs that nothing disturbed make of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from builders import small_world
from oracle import Feedback, Prediction
from scenario import HOUR, Scenario, config_of, text

import sli
from sli.config.load import load_config
from sli.config.model import Config
from sli.publishing.store import Store

MINUTE = HOUR // 60
LENGTH = 40
"""Hours before now at which the first hour of a night begins."""
PATIENT = """
import time
from pathlib import Path

def patient(y_true, y_pred):
    while Path({gate!r}).exists():
        Path({gate!r} + ".seen").touch()
        time.sleep(0.1)
    return 1.0
"""


@dataclass
class Night:
    """Hours of logs under a folder, each with feedback that also corrects the hour before, and their config."""

    scenario: Scenario
    start: int
    hours: int = 0

    @classmethod
    def begin(cls, folder: Path, start: int | None = None, gate: Path | None = None) -> Night:
        """A night with its config. While there is a file `gate`, runs wait in a function of the user: `gate.seen`."""
        start = (int(time.time()) // 3600 - LENGTH) * HOUR if start is None else start
        world = small_world(grains=("hour", "day", "cumulative"), since=start, horizon=7 * 24 * HOUR)
        night = cls(Scenario(folder, world), start)
        tree = config_of(world, folder)
        if gate is not None:
            (folder / "patient.py").write_text(PATIENT.format(gate=str(gate)))
            tree["slis"] = ["accuracy", {"name": "patient", "python": "patient:patient"}]
        night.path.write_text(yaml.safe_dump(tree))
        return night

    @property
    def path(self) -> Path:
        return self.scenario.root / "night.yaml"

    @property
    def config(self) -> Config:
        return load_config(self.path)

    def log(self, hours: int = 1) -> None:
        """Log so many hours more, each in files of its own."""
        for hour in range(self.hours, self.hours + hours):
            begin = self.start + hour * HOUR
            rows = [Prediction(f"{hour}-{i}", begin + i * MINUTE, i / 60, {}) for i in range(60)]
            labels = [Feedback(row.id, row.time + MINUTE, float(i % 3 > 0)) for i, row in enumerate(rows)]
            late = [Feedback(f"{hour - 1}-{i}", begin + MINUTE, 0.0) for i in range(0, 60, 7)] if hour else []
            self.scenario.log_predictions(f"{hour:03}.parquet", rows)
            self.scenario.log_feedback(f"{hour:03}.parquet", [*labels, *late])
        self.hours += hours

    def published_hours(self) -> int:
        """How many hours are published, whole."""
        if Store(self.config.store).published() is None:
            return 0
        found = sli.read(self.config, sli="accuracy", grain="hour")
        return int((found.predictions == 60).sum())

    def wait_for(self, hours: int, seconds: float = 240) -> float:
        """Until so many hours are published; the seconds that it took."""
        began = time.monotonic()
        while self.published_hours() < hours:
            assert time.monotonic() - began < seconds, f"{self.published_hours()} of {hours} hours after {seconds} s"
            time.sleep(1)
        return time.monotonic() - began

    def check(self) -> None:
        """All results equal those of a store whose runs came hour by hour, with nothing away."""
        calm = Night.begin(self.scenario.root / "calm", self.start)
        for hour in range(self.hours):
            calm.log()
            sli.run(calm.config, as_of=text(calm.start + (hour + 2) * HOUR))
        as_of = sli.read(self.config, table="runs").as_of.max()
        sli.run(calm.config, as_of=as_of)
        ours, theirs = (_values(each.config) for each in (self, calm))
        pd.testing.assert_frame_equal(ours, theirs)
        assert len(ours) > self.hours


def _values(config: Config) -> pd.DataFrame:
    """What is believed, without the runs that say so."""
    return sli.read(config, sli="accuracy").drop(columns=["run_id", "as_of"]).astype(str)
