"""Full recomputation against one hand-written DuckDB query for the same numbers, and a second run with nothing to do.

The two take turns; what counts is the ratio. Limit: the query settles no duplicates, audits nothing, keeps no states;
that it gives the same numbers is checked, which holds only for logs without duplicates and corrections.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HAND = """
SELECT epoch_us(predicted_at) // 3600000000 AS hour, count(*), count(label),
count(*) FILTER (label = 1 AND score >= 0.5), count(*) FILTER (label = 0 AND score >= 0.5),
count(*) FILTER (label = 1 AND score < 0.5)
FROM read_parquet('{logs}/predictions/**/*.parquet', hive_partitioning=false) p
LEFT JOIN read_parquet('{logs}/feedback/**/*.parquet', hive_partitioning=false) f USING (output_id)
GROUP BY ALL ORDER BY hour
"""
BY_HAND = f"""
import json, sys, time
began = time.perf_counter()
import duckdb
started = time.perf_counter()
con = duckdb.connect()
con.execute("SET threads=2")
con.execute("SET enable_progress_bar=false")
rows = con.execute({HAND!r}.format(logs=sys.argv[1])).fetchall()
n, l, tp, fp, fn = (sum(row[i] for row in rows) for i in range(1, 6))
print(json.dumps({{"seconds": time.perf_counter() - started, "hours": len(rows), "predictions": n, "labelled": l,
                  "precision": tp / (tp + fp), "recall": tp / (tp + fn)}}))
"""
BY_SLI = """
import json, sys, time
import sli, sli.recompute
from sli.loading import checked
config = checked(json.loads(sys.argv[1]))
started = time.perf_counter()
sli.run(config, as_of=sys.argv[2])
seconds = time.perf_counter() - started
started = time.perf_counter()
again = sli.run(config, as_of=sys.argv[2])
idle = time.perf_counter() - started
assert not again.published
last = sli.read(config, grain="cumulative")
last = last[last.window_end == last.window_end.max()].set_index("sli")
print(json.dumps({"seconds": seconds, "idle": idle,
                  "predictions": int(last.predictions.iloc[0]), "labelled": int(last.labelled.iloc[0]),
                  "precision": last.value["precision"], "recall": last.value["recall"],
                  "hours": len(sli.read(config, sli="recall", grain="hour"))}))
"""


def config(logs: Path, store: Path, memory: str | None) -> dict[str, object]:
    """Accuracy, precision and recall an hour, a day and since deployment."""
    return {
        "model": "bench",
        "since": "2026-01-01",
        "store": str(store),
        "horizon": "7d",
        "predictions": {"path": str(logs / "predictions"), "id": "output_id", "time": "predicted_at", "value": "score"},
        "feedback": {"path": str(logs / "feedback"), "id": "output_id", "time": "known_at", "value": "label"},
        "task": "binary",
        "slis": ["accuracy", "precision", "recall"],
        **({"memory": memory} if memory else {}),
    }


def measured(code: str, *arguments: str) -> dict[str, float]:
    """What a script prints, and its peak memory in MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    found = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {**json.loads(found.stdout), "peak": peak / 1024, "peak_known": peak > before}


def logs_in(folder: str, given: argparse.Namespace) -> Path:
    """The logs asked for, or new ones below a folder."""
    if given.logs is not None:
        return Path(given.logs)
    logs, script = Path(folder) / "logs", Path(__file__).with_name("generate.py")
    subprocess.run([sys.executable, str(script), str(logs), "--predictions", str(given.predictions)], check=True)
    return logs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, help="logs made by generate.py (default: made anew)")
    parser.add_argument("--predictions", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", help="the config's memory, such as 1GB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as folder:
        logs = logs_in(folder, given)
        ratios = []
        for _ in range(given.rounds):
            hand = measured(BY_HAND, str(logs))
            store = Path(folder) / "store"
            shutil.rmtree(store, ignore_errors=True)
            ours = measured(BY_SLI, json.dumps(config(logs, store, given.memory)), "2026-03-01")
            for name in ("hours", "predictions", "labelled", "precision", "recall"):
                assert abs(hand[name] - ours[name]) < 1e-12, f"{name}: {hand[name]} by hand, {ours[name]} by sli"
            ratios.append(ours["seconds"] / hand["seconds"])
            print(
                f"{ours['predictions']:,} predictions: by hand {hand['seconds']:.2f} s, sli {ours['seconds']:.2f} s, "
                f"ratio {ratios[-1]:.2f}; nothing to do {ours['idle']:.2f} s; peak {ours['peak']:.0f} MB of the larger"
            )
        print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
