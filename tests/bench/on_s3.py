"""A store and logs on S3: time and requests of an hourly run, one with nothing to do, `sli show` and `sli query`.

    python tests/bench/on_s3.py --hourly 1000 --days 10 --rounds 3

Each is a process of its own against a server on this machine. Requests are counted by a proxy in runs of their own, so
that it does not slow down those that are timed. Limit: the server is near and alone, so a request costs a few
milliseconds; behind a network it costs more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import servers
from counting import Requests, counted
from generate import LOGS, START
from measure import config, generated, record, spread

BUCKET = "sli"


class Service:
    """Logs of which only the hours before `now` are in the bucket, and a config that reads them there."""

    def __init__(self, folder: Path, source: Path, days: int, endpoint: str) -> None:
        from s3fs import S3FileSystem

        key, secret = servers.KEYS["AWS_ACCESS_KEY_ID"], servers.KEYS["AWS_SECRET_ACCESS_KEY"]
        self.bucket = S3FileSystem(key=key, secret=secret, endpoint_url=endpoint)
        self.source, self.endpoint, self.now = source, endpoint, START
        tree = config(Path("logs"), Path("store"), slice_by=[[], ["region"]], grains=["hour", "day", "cumulative"])
        tree["store"] = f"s3://{BUCKET}/store"
        for log in LOGS:
            tree[log]["path"] = f"s3://{BUCKET}/logs/{log}"
        self.config = folder / "sli.yaml"
        self.config.write_text(json.dumps(tree))
        while self.now < START + timedelta(days=days):
            self.pass_hour()

    def pass_hour(self) -> None:
        """One hour more: the files that it leaves."""
        for log in LOGS:
            name = f"{log}/date={self.now:%Y-%m-%d}/hour={self.now:%H}.parquet"
            if (self.source / name).exists():
                self.bucket.pipe_file(f"{BUCKET}/logs/{name}", (self.source / name).read_bytes())
        self.now += timedelta(hours=1)

    def commands(self) -> dict[str, list[str]]:
        """What is measured; the first run has something to do, the second has not."""
        run = ["run", str(self.config), "--as-of", f"{self.now}Z"]
        by_region = ["query", str(self.config), "accuracy", "--by", "region"]
        return {"hourly": run, "idle": run, "show": ["show", str(self.config)], "query": by_region}

    def call(self, arguments: list[str], endpoint: str) -> float:
        """Seconds of a whole process."""
        env = {**os.environ, **servers.KEYS, "AWS_ENDPOINT_URL": endpoint}
        command = [str(Path(sys.executable).with_name("sli")), *arguments]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
        return time.perf_counter() - began


def rounds(service: Service, count: int, call: Callable[[list[str]], Any]) -> dict[str, list[Any]]:
    """What a call gives for each command, hour by hour."""
    found: dict[str, list[Any]] = {}
    for _ in range(count):
        service.pass_hour()
        for name, arguments in service.commands().items():
            found.setdefault(name, []).append(call(arguments))
    return found


def kinds(service: Service, requests: Requests) -> Callable[[list[str]], dict[str, Any]]:
    """A call that counts requests: of each kind, and of each table and log."""

    def call(arguments: list[str]) -> dict[str, Any]:
        requests.clear()
        service.call(arguments, requests.endpoint)
        below = [*(f"logs/{log}" for log in LOGS), *sorted({part_of(key) for _, key in requests.seen} - {""})]
        of_parts = {part: dict(sorted(requests.kinds(f"{part}/").items())) for part in below}
        return {"all": sum(requests.kinds().values()), "kinds": dict(sorted(requests.kinds().items())), "of": of_parts}

    return call


def part_of(key: str) -> str:
    """The table that a key belongs to, such as `store/tiles`; empty for a key of the logs."""
    parts = key.split("/")
    return "/".join(parts[2:4]) if parts[2:3] == ["store"] and len(parts) > 4 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hourly", type=int, default=1_000, help="predictions an hour")
    parser.add_argument("--days", type=int, default=10, help="of history")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        folder, days = Path(temporary), given.days + 2
        size = ["--predictions", str(given.hourly * 24 * days), "--days", str(days)]
        source = generated(given.folder or folder, *size)
        with servers.s3(folder, BUCKET) as endpoint:
            service = Service(folder, source, given.days, endpoint)
            first = service.call(service.commands()["hourly"], endpoint)
            print(f"first run {first:.1f} s", flush=True)
            seconds = rounds(service, given.rounds, lambda arguments: service.call(arguments, endpoint))
            with counted(endpoint) as requests:
                asked = rounds(service, 2, kinds(service, requests))
    for name, times in seconds.items():
        last = asked[name][-1]
        print(f"{name}: {spread(times)['median']:.2f} s, {last['all']} requests: {last['kinds']}; {last['of']}")
    figures = {
        "hourly_predictions": given.hourly,
        "days": given.days,
        "seconds": {name: spread(times) for name, times in seconds.items()},
        "requests": {name: counts[-1] for name, counts in asked.items()},
    }
    print(record("on_s3", figures))


if __name__ == "__main__":
    main()
