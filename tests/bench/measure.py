"""Measuring: work in processes of its own, its time and peak memory, and one JSON file of figures a benchmark.

A script that is measured prints one JSON object. Its peak is that of all its processes together, looked at ten times a
second: memory of their own added up, what they share counted once. Limit: shorter peaks than that are seen only for
the script's own process.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
PAGE = os.sysconf("SC_PAGE_SIZE")
LIBRARIES = ("dask", "distributed", "deltalake", "duckdb", "numpy", "pandas", "pyarrow")


RUN = """
import json, os, sys, threading, time
import sli, sli.runs.recompute
from sli.config.load import checked
config = checked(json.loads(sys.argv[1]))
peaks, stage = {}, "starting"
def looks():
    while True:
        with open("/proc/self/statm") as file:
            peaks[stage] = max(peaks.get(stage, 0), int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        time.sleep(0.02)
def progress(what, *_):
    global stage
    stage = what
if __name__ == "__main__":
    threading.Thread(target=looks, daemon=True).start()
    began = time.perf_counter()
    outcome = sli.run(config, as_of=sys.argv[2], future=True, progress=progress)
    print(json.dumps({"seconds": time.perf_counter() - began, "results": outcome.results,
                      "stages_mb": {name: round(peak / 1e6) for name, peak in peaks.items()}}))
"""
"""One run of a config, as of an instant: its results, and the peak of the process itself stage by stage, looked at
fifty times a second."""


class Failed(Exception):
    """A script that did not finish: `why` is time, memory or the last line it wrote."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def measured(
    script: str | Path,
    *arguments: str,
    python: str = sys.executable,
    seconds: float = 3600,
    gigabytes: float = 20,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a script (its text or its file) prints, with its `peak_mb` and its `whole` and `cpu` seconds, imports too.

    Raises Failed beyond a limit, and where the script fails.
    """
    began, peak, ended = time.perf_counter(), 0, ""
    processes: dict[int, int] = {}
    # What it leaves where it is killed, such as the data of a server, goes too.
    temporary = tempfile.TemporaryDirectory(prefix="sli-bench-", ignore_cleanup_errors=True)
    with temporary as folder, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        os.chmod(folder, 0o755)  # a server may run as another user
        child = subprocess.Popen(
            [python, *([str(script)] if isinstance(script, Path) else ["-c", script]), *arguments],
            stdout=out,
            stderr=errors,
            env={**os.environ, "TMPDIR": folder, **(env or {})},
            start_new_session=True,
        )
        reaped: list[Any] = []
        waiting = threading.Thread(target=lambda: reaped.extend(os.wait4(child.pid, 0)[1:]))
        waiting.start()
        while waiting.is_alive():
            now = resident(child.pid)
            peak = max(peak, sum(own for own, _ in now.values()) + max((held for _, held in now.values()), default=0))
            processes |= {pid: max(processes.get(pid, 0), sum(both)) for pid, both in now.items()}
            if time.perf_counter() - began > seconds:
                ended = f"did not finish in {seconds:.0f} s"
            elif peak > gigabytes * 1e9:
                ended = f"more than {gigabytes:.0f} GB"
            if ended:
                # One by one: a server has a session of its own, and would go on beside the next peer.
                for pid in now:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            waiting.join(0.1)
        status, usage = reaped
        whole = time.perf_counter() - began
        out.seek(0)
        errors.seek(0)
        printed, wrote = out.read().decode(), errors.read().decode(errors="replace").strip()
    if ended or status:
        raise Failed(ended or (wrote or f"ended with {status}").splitlines()[-1])
    return {
        **json.loads(printed.splitlines()[-1]),
        "whole": whole,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_mb": max(peak, usage.ru_maxrss * 1024) / 1e6,
        "processes_mb": sorted((each / 1e6 for each in processes.values()), reverse=True)[:4],
    }


def resident(root: int) -> dict[int, tuple[int, int]]:
    """For a process and all its descendants the bytes of memory it holds now: of its own, and shared ones."""
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(Path(entry.path, "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    found = {}
    for pid in family:
        try:
            pages = Path(f"/proc/{pid}/statm").read_text().split()
        except OSError:
            continue
        found[pid] = ((int(pages[1]) - int(pages[2])) * PAGE, int(pages[2]) * PAGE)
    return found


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Rounds as they came, with the least, the median and the most."""
    rounds = list(values)
    return {"min": min(rounds), "median": statistics.median(rounds), "max": max(rounds), "rounds": rounds}


def paired(name: str, times: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The figures of two that took turns, and how many times the one takes what the other does."""
    found = {
        "name": name,
        "seconds": spread(one for one, _ in times),
        "against": spread(other for _, other in times),
        "ratio": spread(one / other for one, other in times),
    }
    print(f"{name}: {found['ratio']['median']:.2f}", flush=True)
    return found


def record(name: str, figures: Mapping[str, Any], libraries: Sequence[str] = LIBRARIES) -> Path:
    """Write the figures of one benchmark, with the machine they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**figures, "machine": machine(libraries)}, indent=1) + "\n")
    return path


def machine(libraries: Sequence[str]) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().splitlines()[0].split()[1]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit.stdout.strip(),
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory) / 1e6, 1),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in libraries},
    }


def config(logs: Path, store: Path, **more: Any) -> dict[str, Any]:
    """Accuracy, precision and recall an hour, a day and since deployment, of logs made by generate.py."""
    return {
        "model": "bench",
        "since": "2026-01-01",
        "store": str(store),
        "horizon": "7d",
        "predictions": {"path": str(logs / "predictions"), "id": "output_id", "time": "predicted_at", "value": "score"},
        "feedback": {"path": str(logs / "feedback"), "id": "output_id", "time": "known_at", "value": "label"},
        "task": "binary",
        "slis": ["accuracy", "precision", "recall"],
        **more,
    }


def generated(folder: Path, *arguments: str) -> Path:
    """Logs made by generate.py with these arguments; made once a folder, and read once, so that no disk is cold."""
    logs = folder / "-".join(["logs", *(each.lstrip("-").replace(":", "") for each in arguments)])
    if not (logs / "done").exists():
        script = str(Path(__file__).with_name("generate.py"))
        subprocess.run([sys.executable, script, str(logs), *arguments], check=True)
        (logs / "done").touch()
    for file in logs.rglob("*.parquet"):
        file.read_bytes()
    return logs
