"""What an hourly run takes after 1 to 365 days of the same traffic, of which only the last day is there in full.

    python tests/bench/flat.py --hourly 20000 200000 --history 1 30 90 365 --rounds 5

The logs of older days have `--thin` predictions an hour, but all their files, hours and windows; the index of ids gets
a made-up key for each row they lack. All histories end with the same full day, so the hours that come then are the same
for all, and what they take more is the history's. Limit: the keys of one hash function; rows that a run reads from old
logs would be too few.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from deltalake import write_deltalake
from generate import LABELLED, START
from hourly import Service
from measure import generated, record, spread

from sli.config.load import checked
from sli.matching.id_index import kept_since
from sli.planning.reach import Reach
from sli.schemas import ID_INDEX

DAY = timedelta(days=1)
HORIZON = "1d"
"""So that labels come for hours of full logs alone."""
KEYS = """
    SELECT '{log}' AS log, (tile // 168)::VARCHAR AS week, tile, (hash(tile * 1000003 + row) >> 1)::BIGINT AS key
    FROM range({first}, {end}) hours(tile), range({rows}) rows(row)
"""


class Grown(Service):
    """A service whose logs are thin before its last day."""

    def __init__(self, folder: Path, logs: tuple[Path, Path], last: datetime, days: int) -> None:
        self.logs_by_age, self.last = logs, last
        super().__init__(folder, logs[0], days, [], start=last + DAY - days * DAY, horizon=HORIZON)

    def pass_hour(self) -> None:
        self.source = self.logs_by_age[self.now >= self.last]
        super().pass_hour()

    def add_keys(self, rows: int) -> None:
        """Keys as if each hour before the last day had so many predictions more, of the weeks that the index keeps."""
        start, last, now = (int(aware(time).timestamp()) for time in (self.start, self.last, self.now))
        kept = kept_since(Reach.of(checked(self.tree)), now * 1_000_000) // 1_000_000
        first, last = max(start, kept) // 3600, last // 3600
        for log, share in (("predictions", 1), ("feedback", LABELLED)):
            for begin in range(first // 168 * 168, last, 168):
                span = {"first": max(first, begin), "end": min(last, begin + 168), "rows": int(rows * share)}
                table = duckdb.sql(KEYS.format(log=log, **span)).to_arrow_table().cast(ID_INDEX)
                write_deltalake(f"{self.tree['store']}/keys", table, mode="append")


def aware(time: datetime) -> datetime:
    return datetime.fromisoformat(f"{time}Z")


def flat(folder: Path, stores: Path, hourly: int, given: argparse.Namespace) -> dict[str, Any]:
    """Hours after each history, by turns."""
    days = max(given.history) - 1
    last, horizon = START + days * DAY, ["--horizon", HORIZON]
    thin = generated(folder, "--predictions", str(given.thin * 24 * days), "--days", str(days), *horizon)
    full = generated(folder, "--predictions", str(hourly * 48), "--days", "2", "--first-day", str(days), *horizon)
    services = {
        history: Grown(stores / f"{hourly}-{history}d", (thin, full), last, history) for history in given.history
    }
    for service in services.values():
        service.run()
        service.pass_hour()
        service.run()  # writes the index of ids
        service.add_keys(hourly - given.thin)
        service.pass_hour()
        service.run()
    runs: dict[int, list[dict[str, Any]]] = {history: [] for history in services}
    for _ in range(given.rounds):
        for history, service in services.items():
            service.pass_hour()
            runs[history].append(service.run())
    shortest = runs[min(runs)]
    histories = []
    for history, own in runs.items():
        figures = {name: spread(run[name] for run in own) for name in ("seconds", "cpu", "peak_mb")}
        ratios = {
            f"{name}_ratio": spread(one[name] / other[name] for one, other in zip(own, shortest, strict=True))
            for name in ("seconds", "cpu")
        }
        histories.append({"history_days": history, **figures, **ratios})
        medians = {name: round(figure["median"], 2) for name, figure in {**figures, **ratios}.items()}
        print(f"{hourly:,} an hour, {history} days: {medians}, {own[-1]['tiles']} hours", flush=True)
    return {"hourly_predictions": hourly, "histories": histories}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hourly", type=int, nargs="+", default=[20_000, 200_000], help="predictions an hour")
    parser.add_argument("--history", type=int, nargs="+", default=[1, 30, 90, 365], help="days")
    parser.add_argument("--thin", type=int, default=100, help="predictions an hour of older logs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep logs and stores here (default: a temporary folder)")
    given = parser.parse_args()
    # Beside the logs, since services link to their files.
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sli-bench-", dir=given.folder) as temporary:
        for hourly in given.hourly:
            figures = flat(given.folder or Path(temporary), Path(temporary), hourly, given)
            print(record(f"flat-{hourly}", figures))


if __name__ == "__main__":
    main()
