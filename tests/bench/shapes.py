"""What the keys for logs as they are cost: a full recomputation of the same rows by plain columns, and by each key.

    python tests/bench/shapes.py --predictions 10000000 --rounds 3

All configs read the same files, which hold each value several times: plain, in a struct, as an epoch, with a column
`env` that is `prod` in every row and a second column of the id. Figures are CPU seconds of whole processes, in turns,
and their ratio to the plain config. Limit: one machine, a warm page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb
from measure import config, generated, record, spread

AS_OF = "2026-06-01"
COLUMNS = {
    "predictions": "*, epoch_ms(predicted_at) AS predicted_ms, {'score': score, 'version': 'v7'} AS output, "
    "'prod' AS env, 'champion' AS model",
    "feedback": "*, epoch_ms(known_at) AS known_ms, 'chargeback' AS kind, 'champion' AS model",
}
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "where": ({"where": "env = 'prod'"}, {"where": "kind = 'chargeback'"}),
    "epoch": (
        {"time": {"column": "predicted_ms", "unit": "ms"}},
        {"time": {"column": "known_ms", "unit": "ms"}},
    ),
    "struct": ({"value": "output.score"}, {}),
    "SQL": ({"value": {"sql": "score / 1"}}, {}),
    "ids as text": ({"id": {"column": "output_id", "type": "text"}}, {"id": {"column": "output_id", "type": "text"}}),
    "labels": ({}, {"labels": {"positive": [1], "negative": [0]}}),
    "ids of two": ({"id": ["output_id", "model"]}, {"id": ["output_id", "model"]}),
}


def shaped(logs: Path, folder: Path) -> Path:
    """The logs with every value in several forms."""
    for log, columns in COLUMNS.items():
        for path in sorted((logs / log).rglob("*.parquet")):
            target = folder / log / path.relative_to(logs / log)
            target.parent.mkdir(parents=True, exist_ok=True)
            duckdb.sql(
                f"COPY (SELECT {columns} FROM read_parquet('{path}', hive_partitioning=false)) TO '{target}' "
                "(FORMAT parquet, COMPRESSION snappy)"
            )
    return folder


def cpu_seconds(path: Path) -> float:
    """CPU seconds of one run from nothing, with those of its threads."""
    command = [sys.executable, "-m", "sli.command.cli", "run", str(path), "--as-of", AS_OF]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the logs here (default: a temporary folder)")
    given = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in SHAPES}
    with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
        plain = generated(given.folder or Path(temporary), "--predictions", str(given.predictions))
        logs = shaped(plain, Path(temporary) / "shaped")
        for turn in range(given.rounds):
            for name, (predictions, feedback) in SHAPES.items():
                tree = config(logs, Path(temporary) / f"store-{turn}-{name.replace(' ', '-')}")
                tree["predictions"] |= predictions
                tree["feedback"] |= feedback
                path = Path(temporary) / "sli.yaml"
                path.write_text(json.dumps(tree))
                times[name].append(cpu_seconds(path))
    shapes = []
    for name, seconds in times.items():
        ratios = [own / of_plain for own, of_plain in zip(seconds, times["plain"], strict=True)]
        shapes.append({"shape": name, "cpu_seconds": spread(seconds), "to_plain": spread(ratios)})
        print(f"{name:12s} {statistics.median(seconds):6.2f} s of CPU, x {statistics.median(ratios):.2f}")
    print(record("shapes", {"predictions": given.predictions, "shapes": shapes}))


if __name__ == "__main__":
    main()
