"""An hourly run after a longer and longer history, and one whose feedback reaches far back, against a full recompute.

    python tests/bench/hourly.py --hourly 1000 --history 1 10 100 365 --rounds 3

The logs of a service of `--hourly` predictions an hour grow by a file of each log an hour, from noon on. A store is
brought up to date after each history; then hours come one by one and each is run in a process of its own, the
histories taking turns. `--late` adds to a history of that many days and one more a file of feedback that labels
`--few` predictions of every hour within a horizon of `--late` days. Limit: logs and store lie on a local disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from generate import LOGS, START
from measure import config, generated, measured, record, spread

NOON = START + timedelta(hours=12)
HOUR = timedelta(hours=1)
RUN = """
import json, sys, time
import sli, sli.runs.recompute
from sli.config.load import checked
config = checked(json.loads(sys.argv[1]))
if profiled := sys.argv[3:]:
    import cProfile, pstats
    profile = cProfile.Profile(time.process_time)  # of all threads; it makes many small calls look dear
    profile.enable()
began = time.perf_counter()
outcome = sli.run(config, as_of=sys.argv[2], future=True)  # made-up logs of a year may reach there
seconds = time.perf_counter() - began
steps = {}
if profiled:
    profile.disable()
    stats = pstats.Stats(profile)
    stats.calc_callees()
    for (file, _, name), callees in stats.all_callees.items():
        if name in ("_attempt", "_execute", "roll_up_windows") and "/runs/" in file:
            steps |= {step: figures[3] for (_, _, step), figures in callees.items()}
    stats.sort_stats("cumulative").dump_stats(profiled[0])
steps = dict(sorted(steps.items(), key=lambda step: -step[1])[:12])
print(json.dumps({"seconds": seconds, "tiles": outcome.tiles, "results": outcome.results, "steps": steps}))
"""


class Service:
    """Logs of which only the hours before `now` are there, and a store brought up to date with them."""

    def __init__(
        self, folder: Path, source: Path, days: int, slices: list[str], start: datetime = NOON, **more: Any
    ) -> None:
        self.logs, self.source, self.start, self.now = folder / "logs", source, start, start
        by = {"slice_by": [[], *([name] for name in slices)]} if slices else {}
        self.tree = config(self.logs, folder / "store", since=f"{start}Z", **by, **more)
        while self.now < start + timedelta(days=days):
            self.pass_hour()

    def pass_hour(self) -> None:
        """One hour more: the files that it leaves."""
        for log in LOGS:
            name = f"{log}/date={self.now:%Y-%m-%d}/hour={self.now:%H}.parquet"
            if (self.source / name).exists():
                (self.logs / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(self.source / name, self.logs / name)
        self.now += HOUR

    def run(self, profile: Path | None = None) -> dict[str, Any]:
        """What is to be done now, in a process of its own."""
        return measured(RUN, json.dumps(self.tree), f"{self.now}Z", *([str(profile)] if profile else []))

    def label(self, days: int, few: int) -> int:
        """One file more: a few predictions of each hour of the last days that had no label; returns how many rows."""
        import duckdb

        first, file = self.now - timedelta(days=days), self.logs / "feedback" / f"late-{self.now:%Y%m%dT%H}.parquet"
        with duckdb.connect() as con:
            con.execute("SET TimeZone='UTC'")
            con.execute(f"""
                COPY (
                    SELECT output_id, TIMESTAMPTZ '{self.now}Z' AS known_at, (score >= 0.5)::TINYINT AS label
                    FROM read_parquet('{self.logs}/predictions/**/*.parquet', hive_partitioning=false) p
                    ANTI JOIN read_parquet('{self.logs}/feedback/**/*.parquet', hive_partitioning=false) f
                    USING (output_id) WHERE predicted_at >= TIMESTAMPTZ '{first}Z'
                    QUALIFY row_number() OVER (PARTITION BY date_trunc('hour', predicted_at) ORDER BY output_id) 
                        <= {few}
                ) TO '{file}' (FORMAT parquet)""")
            (rows,) = con.execute(f"SELECT count(*) FROM read_parquet('{file}')").fetchone() or (0,)
        return int(rows)


def after_histories(folder: Path, source: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Hourly runs after each history, by turns."""
    services = {days: Service(folder / f"{days}d", source, days, given.slices) for days in given.history}
    firsts = {}
    for days, service in services.items():
        firsts[days] = service.run()
        print(f"{days} days: first run {firsts[days]['seconds']:.1f} s", flush=True)
    runs: dict[int, list[dict[str, Any]]] = {days: [] for days in services}
    for _ in range(given.rounds):
        for days, service in services.items():
            service.pass_hour()
            runs[days].append(service.run())
            print(f"{days} days: {runs[days][-1]['seconds']:.2f} s, {runs[days][-1]['tiles']} hours", flush=True)
    found = []
    for days, service in services.items():
        service.pass_hour()
        steps = service.run(folder / f"{days}d.profile")["steps"] if given.profile else {}
        for name, seconds in steps.items():
            print(f"  {days} days: {name} {seconds:.3f} s")
        found.append(
            {
                "history_days": days,
                "first_seconds": firsts[days]["seconds"],
                "seconds": spread(run["seconds"] for run in runs[days]),
                "whole": spread(run["whole"] for run in runs[days]),
                "peak_mb": spread(run["peak_mb"] for run in runs[days]),
                "hours_recomputed": [run["tiles"] for run in runs[days]],
                "steps": steps,
            }
        )
    return found


def after_late_feedback(folder: Path, source: Path, days: int, given: argparse.Namespace) -> dict[str, Any]:
    """An hour with a late file, and the same tables from nothing, by turns."""
    service = Service(folder / f"late{days}d", source, days + 1, given.slices, horizon=f"{days}d")
    service.run()
    service.pass_hour()
    service.run()  # it writes the index of ids
    store, afresh = Path(service.tree["store"]), folder / f"late{days}d" / "afresh"
    late, full, rows = [], [], 0
    for _ in range(given.rounds):
        service.pass_hour()
        rows = service.label(days, given.few)
        late.append(service.run())
        shutil.rmtree(afresh, ignore_errors=True)
        service.tree["store"] = str(afresh)
        full.append(service.run())
        service.tree["store"] = str(store)
        print(f"horizon {days} d, {rows} late rows: {late[-1]['seconds']:.2f} s, {late[-1]['tiles']} hours; "
              f"full {full[-1]['seconds']:.2f} s", flush=True)  # fmt: skip
    steps = {}
    if given.profile:
        service.pass_hour()
        service.label(days, given.few)
        steps = service.run(folder / f"late{days}d.profile")["steps"]
        for name, seconds in steps.items():
            print(f"  horizon {days} d: {name} {seconds:.3f} s")
    return {
        "horizon_days": days,
        "late_rows": rows,
        "hours_recomputed": late[-1]["tiles"],
        "seconds": spread(run["seconds"] for run in late),
        "peak_mb": spread(run["peak_mb"] for run in late),
        "full_seconds": spread(run["seconds"] for run in full),
        "full_peak_mb": spread(run["peak_mb"] for run in full),
        "steps": steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hourly", type=int, default=1_000, help="predictions an hour")
    parser.add_argument("--history", type=int, nargs="*", default=[1, 10, 100, 365], help="days")
    parser.add_argument("--late", type=int, nargs="*", default=[], help="days of horizon that late files reach back")
    parser.add_argument("--few", type=int, default=3, help="late rows of each hour")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", nargs="*", default=[], help="slice columns: region, device")
    parser.add_argument("--profile", action="store_true", help="one run more of each, to see where the time goes")
    parser.add_argument("--folder", type=Path, help="keep logs and stores here (default: a temporary folder)")
    given = parser.parse_args()
    days = max([*given.history, *(late + 1 for late in given.late)]) + 3
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        folder = given.folder or Path(temporary)
        source = generated(folder, "--predictions", str(given.hourly * 24 * days), "--days", str(days))
        stores = folder / f"hourly-{datetime.now():%Y%m%dT%H%M%S}"
        asked, name = {"hourly_predictions": given.hourly, "slices": given.slices}, [str(given.hourly), *given.slices]
        if given.history:
            figures = {**asked, "histories": after_histories(stores, source, given)}
            print(record("-".join(["hourly", *name]), figures))
        if given.late:
            late = [after_late_feedback(stores, source, horizon, given) for horizon in given.late]
            print(record("-".join(["late", *name]), {**asked, "late": late}))


if __name__ == "__main__":
    main()
