"""Prometheus: a series for each prediction and each label, as the article has them, joined on output_id by PromQL.

Its own block builder loads the logs, as samples at the time of the prediction and at the time the label was known.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).parents[2]))
from servers import free_ports, process, wait_for

END = 1_770_768_000  # 2026-02-11: all is known
SERIES = {
    "prediction": ("predictions", "predicted_at", "(score >= 0.5)::INTEGER"),
    "label": ("feedback", "known_at", "label"),
}
JOIN = "last_over_time(prediction[41d]) == bool on(output_id) last_over_time(label[41d])"
logs, rounds = sys.argv[1:]


def load(folder: Path) -> None:
    """Blocks of both logs."""
    text = folder / "samples.txt"
    with text.open("wb") as out, duckdb.connect() as con:
        for name, (log, at, value) in SERIES.items():
            part = folder / "part.txt"
            con.execute(
                f"""COPY (SELECT '{name}{{output_id="' || output_id || '"}} ' || {value} || ' '
                || (epoch_ms({at}) / 1000.0)::DECIMAL(18, 3)
                FROM read_parquet('{logs}/{log}/**/*.parquet', hive_partitioning=false))
                TO '{part}' (FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '|')"""
            )
            out.write(f"# TYPE {name} gauge\n".encode())
            with part.open("rb") as lines:
                while block := lines.read(1 << 20):
                    out.write(block)
            part.unlink()
        out.write(b"# EOF\n")
    build = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=744h", "openmetrics", str(text)]
    subprocess.run([*build, str(folder / "blocks")], check=True, stdout=subprocess.DEVNULL)
    text.unlink()


def asked(port: int, query: str) -> float:
    """The one number that a query gives."""
    address = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query, "time": END})
    with urllib.request.urlopen(address, timeout=3600) as reply:
        (found,) = json.load(reply)["data"]["result"]
    return float(found["value"][1])


def ready(port: int) -> bool:
    """Whether it has opened its blocks; until then it answers that it is unavailable."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready").close()
    except urllib.error.HTTPError:
        return False
    return True


with tempfile.TemporaryDirectory(prefix="sli-bench-") as temporary:
    folder = Path(temporary)
    began = time.perf_counter()
    load(folder)
    loaded = time.perf_counter() - began
    (folder / "prometheus.yml").write_text("")
    [port] = free_ports(1)
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'blocks'}",
        "--storage.tsdb.retention.time=10y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--query.timeout=1h",
        "--web.read-timeout=1h",
        "--query.max-samples=1000000000",
    ]
    log = folder / "prometheus.log"
    with process(command, log) as child:
        wait_for(f"http://127.0.0.1:{port}/-/ready", child, log)
        while not ready(port):
            time.sleep(0.1)
        accuracy, labelled = asked(port, f"avg({JOIN})"), asked(port, f"count({JOIN})")
        seconds = []
        for _ in range(int(rounds)):
            began = time.perf_counter()
            asked(port, f"avg({JOIN})")
            seconds.append(time.perf_counter() - began)
version = subprocess.run(["prometheus", "--version"], capture_output=True, text=True).stdout.split()[2]
figures = {"seconds": seconds, "accuracy": accuracy, "labelled": int(labelled), "load": loaded, "version": version}
print(json.dumps(figures))
