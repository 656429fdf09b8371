"""The page docs/benchmarks.md and its plots, from the figures in results/ and nothing else.

Words are written here, numbers never: which sentence is true is decided by comparing them. Limit: figures measured on
several days or machines stand beside each other; each section says on which.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from limits import limits
from plots import DOCS, HERE, Figures, plot_full, plot_reading, plot_results, plot_unattended

INTRODUCTION = """# Benchmarks

`make bench` makes this page; every number comes from the figures of a run
([tests/bench/results](../tests/bench/results)). All tools take turns on the same files, each in a process of its own
with two threads. A time is the median of the work alone, without imports and without the start of servers and of the
JVM; loading and fitting are listed separately. Memory is the peak of all processes of a tool together. If the numbers
of two tools differ, the benchmark stops."""
BARE = "it keeps no states, audits nothing and publishes nothing"
FASTER = {
    "DuckDB": f"sli runs this engine inside each task; DuckDB alone answers one query: {BARE}",
    "Polars": f"it answers one query and keeps the answer in memory: {BARE}",
    "pandas": f"it joins logs that fit into memory at once: {BARE}",
    "Dask": BARE,
    "PySpark": BARE,
    "PostgreSQL": "it has loaded and analysed the rows before; the loading is listed separately",
    "Evidently": BARE,
    "NannyML": BARE,
}
"""Why a peer can be faster."""
WHOLE = "it gives values alone: no intervals, no states to go on from in the next hour, no audit, nothing published"
SAME = {"DuckDB": WHOLE, "Polars": WHOLE, "pandas": WHOLE}
"""Why a peer can be faster at the whole job."""
SCENARIOS = {
    "plain": "Clean logs: accuracy, precision and recall per hour, per day and since deployment",
    "settled": "The same, overall and per region, from logs with duplicate predictions and corrected labels",
}
Spread = dict[str, Any]


def results(name: str) -> list[Figures]:
    """The files of a benchmark, by size."""
    found = [json.loads(path.read_text()) for path in (HERE / "results").glob("*.json") if re.match(name, path.stem)]
    return sorted(found, key=lambda each: each.get("predictions", each.get("hourly_predictions", 0)))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, numbers to the right."""
    line = "|".join("---:" if i else "---" for i in range(len(head)))
    return ["", f"| {' | '.join(head)} |", f"|{line}|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def count(number: float) -> str:
    """1 billion, 10M, 359,052."""
    if number >= 1e9:
        return f"{number / 1e9:g} billion"
    return f"{number / 1e6:g}M" if number >= 1e6 and number % 1e5 == 0 else f"{number:,}"


def seconds(value: float) -> str:
    """Three digits, from milliseconds on."""
    return f"{value * 1000:,.1f} ms" if value < 0.1 else f"{value:,.2f} s" if value < 10 else f"{value:,.0f} s"


def median(of: Spread) -> str:
    return seconds(of["median"])


def memory_of(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 100 else f"{megabytes:.1f} MB"


def times(ratio: float) -> str:
    """x 0.85, x 12, x 1,234."""
    return f"x {ratio:.2f}" if ratio < 10 else f"x {ratio:,.0f}"


def aim(text: str, found: float, bound: float, unit: str, least: bool) -> str:
    """A line that says whether an aim is met."""
    met = found >= bound if least else found <= bound
    sense = "at least" if least else "at most"
    return f"- {text}: {found:,.3g}{unit}. Aim: {sense} {bound:g}{unit}, **{'met' if met else 'not met'}**."


def measured_on(of: Figures) -> list[str]:
    """Where and when figures were measured."""
    on = of["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
    where = f"{on['cpu']}, {on['cores']} cores, {on['memory_gb']:g} GB, Python {on['python']}"
    return ["", f"*{on['date']}, commit {on['commit']}, {where}; {versions}.*"]


def in_short() -> list[str]:
    """The headline: the whole job, the hourly run, reading."""
    lines = ["## In short", ""]
    if runs := results("whole-"):
        lines += [_whole_in_short(runs[-1])]
    if found := results("flat-"):
        shortest, longest = found[-1]["histories"][0], found[-1]["histories"][-1]
        lines += [
            f"- **An hourly run** of {found[-1]['hourly_predictions']:,} predictions takes "
            f"{median(longest['seconds'])} after {longest['history_days']} days, "
            f"{median(shortest['seconds'])} after {shortest['history_days']}."
        ]
    elif found := results("hourly-"):
        longest = found[-1]["histories"][-1]
        lines += [
            f"- **An hourly run** of {found[-1]['hourly_predictions']:,} predictions takes "
            f"{median(longest['seconds'])} after {longest['history_days']} days."
        ]
    for found in results("reading"):
        size = found["sizes"][-1]
        times = {name: median(each["seconds"]) for name, each in size["readers"].items()} | size["failed"]
        ours = times.pop("sli")
        others = "; ".join(f"{name}: {answer}" for name, answer in times.items())
        lines += [
            f"- **Reading** accuracy since deployment of {count(size['predictions'])} predictions takes {ours}, "
            f"because it is published already. By a query over the logs, {others}."
        ]
    return lines


def _whole_in_short(run: Figures) -> str:
    """One line of the whole job at its largest size."""
    peers = dict(run["peers"])
    ours = peers.pop("sli")
    answers = [f"{name} {median(of['seconds'])}, {memory_of(of['peak_mb']['median'])}" for name, of in peers.items()]
    answers += [f"{name} {why}" for name, why in run["failed"].items()]
    ahead = [name for name, of in peers.items() if of["times_sli"] < 1]
    verdict = f"faster than sli, below says why: {', '.join(ahead)}" if ahead else "none is faster than sli"
    return (
        f"- **The whole job** over {count(run['predictions'])} predictions of 30 days, {run['values']:,} values: sli "
        f"{median(ours['seconds'])}, {memory_of(ours['peak_mb']['median'])}. By hand: {'; '.join(answers)} ({verdict})."
    )


def whole_job() -> list[str]:
    runs = results("whole-")
    rounds = " / ".join(str(len(run["peers"]["sli"]["seconds"]["rounds"])) for run in runs)
    lines = [
        "## The whole job",
        "",
        "30 days, 12 binary SLIs of which three are distributions (ROC AUC, average precision, a quantile), overall, "
        "by region and by device (56 slices), for each hour, day, week, month, since deployment, and the last 7 days "
        "every day. By hand means a script that one good person writes in half a day; all values are equal, scores are "
        f"not rounded. Each cell: time, time / sli's time, peak memory; medians of {rounds} rounds.",
    ]
    for run in runs:
        if run.get("busy"):
            lines += ["", f"At {count(run['predictions'])} other work ran beside all of them: compare ratios, or CPU."]
    lines += _of_peers(runs) + _faster(runs, SAME, f"{WHOLE}; that work follows the results, not the predictions")
    for run in runs:
        peers = {name: of for name, of in run["peers"].items() if "cpu" in of}
        used = ", ".join(f"{name} {of['cpu']['median']:,.0f}" for name, of in peers.items())
        lines += [f"- Seconds of CPU at {count(run['predictions'])}, imports too: {used}."]
    phases = sorted(runs[-1]["peers"]["sli"].get("phases", {}).items(), key=lambda phase: -phase[1])
    if phases:
        steps = ", ".join(f"{name} {used:.1f}" for name, used in phases if used >= 0.1)
        lines += [f"- sli's seconds of CPU at {count(runs[-1]['predictions'])} by step: {steps}."]
    return [*lines, *measured_on(runs[-1])]


def full() -> list[str]:
    lines = ["## Full recompute", "", "![seconds by size](benchmarks-full.png)"]
    for scenario, words in SCENARIOS.items():
        runs = [each for each in results("full-") if each["scenario"] == scenario]
        if not runs:
            continue
        rounds = " / ".join(str(len(run["peers"]["sli"]["seconds"]["rounds"])) for run in runs)
        lines += ["", f"**{words}.** Each cell: time, time / sli's time, peak memory; medians of {rounds} rounds."]
        lines += [
            *_of_peers(runs),
            *_aims(runs),
            *_faster(runs, FASTER, "sli's fixed cost weighs more than the work"),
            *measured_on(runs[-1]),
        ]
    return lines


def _of_peers(runs: list[Figures]) -> list[str]:
    """A row a peer, a column a size."""
    peers = list(dict.fromkeys(peer for run in runs for peer in [*run["peers"], *run["failed"]]))
    versions = {p: of["version"] for run in runs for p, of in run["peers"].items() if "version" in of}
    return table(
        ["", *(count(run["predictions"]) for run in runs)],
        [[f"{peer} {versions.get(peer, '')}".strip(), *(_peer(run, peer) for run in runs)] for peer in peers],
    )


def _peer(run: Figures, peer: str) -> str:
    if peer in run["failed"]:
        return run["failed"][peer][:80]
    if peer not in run["peers"]:
        return "-"
    of = run["peers"][peer]
    parts = [median(of["seconds"]), *([] if peer == "sli" else [times(of["times_sli"])])]
    parts += [memory_of(of["peak_mb"]["median"])]
    parts += [f"{word} {median(of[name])}" for name, word in (("load", "loading"), ("fit", "fitting")) if name in of]
    parts += [f"from {of['hours']} of {of['of']} hours"] if "hours" in of else []
    return ", ".join(parts)


def _aims(runs: list[Figures]) -> list[str]:
    lines = []
    for run in runs:
        bounds = {"DuckDB": 1, "Dask": 10} if run["predictions"] >= 10_000_000 else {}
        bounds |= {"NannyML": 50} if run["predictions"] >= 1_000_000 else {}
        for peer, bound in bounds.items():
            if peer in run["peers"]:
                text = f"{peer}'s time at {count(run['predictions'])}, divided by sli's"
                lines.append(aim(text, run["peers"][peer]["times_sli"], bound, "", True))
    return lines


def _faster(runs: list[Figures], reasons: dict[str, str], small: str) -> list[str]:
    """Who is faster than sli, where and why; `small` is the reason of one that is so only where there is less."""
    lines = []
    for peer in dict.fromkeys(peer for run in runs for peer in run["peers"]):
        by_size = {run["predictions"]: run["peers"][peer]["times_sli"] for run in runs if peer in run["peers"]}
        ahead = [size for size, ratio in by_size.items() if ratio < 1]
        if not ahead:
            continue
        only_small = any(size > max(ahead) for size in by_size)
        why = small if only_small else reasons[peer]
        lines.append(f"- {peer} is faster at {', '.join(map(count, ahead))}: {why}.")
    return lines


def hourly() -> list[str]:
    lines = ["## An hourly run", *_flat(), *_volume()]
    for found in results("hourly-"):
        by = f", overall and per {', '.join(found['slices'])}" if found["slices"] else ""
        lines += ["", f"**{found['hourly_predictions']:,} predictions an hour{by}**"]
        lines += [*_histories(found["histories"]), *measured_on(found)]
    for found in results("late-"):
        lines += ["", f"**{found['hourly_predictions']:,} predictions an hour**", *_late(found["late"])]
        lines += measured_on(found)
    return lines


def on_s3() -> list[str]:
    lines = ["## On S3"]
    for found in results("on_s3"):
        lines += [
            "",
            f"Logs and store in a bucket of a real server on this machine, {found['hourly_predictions']:,} predictions "
            f"an hour, {found['days']} days of history. Seconds of whole processes; requests counted in other runs:",
        ]
        kinds = ("GET", "HEAD", "LIST", "PUT", "DELETE")
        lines += table(
            ["", "time", "requests", *kinds],
            [
                [name, median(of), str(asked["all"]), *(str(asked["kinds"].get(kind, 0)) for kind in kinds)]
                for (name, of), asked in zip(found["seconds"].items(), found["requests"].values(), strict=True)
            ],
        )
        lines += measured_on(found)
    return lines


def _flat() -> list[str]:
    """The same hours after short and long histories."""
    lines = []
    for found in results("flat-"):
        lines += [
            "",
            f"**{found['hourly_predictions']:,} predictions an hour, after short and long histories.** The hours that "
            "come are the same for each; of older logs only some rows are there, but all files, windows and keys "
            "of the index of ids.",
        ]
        lines += table(
            ["days of history", "hourly run", "CPU, imports too", "peak", "time / that after the shortest"],
            [
                [
                    str(each["history_days"]),
                    median(each["seconds"]),
                    median(each["cpu"]),
                    memory_of(each["peak_mb"]["median"]),
                    times(each["seconds_ratio"]["median"]),
                ]
                for each in found["histories"]
            ],
        )
        longest = found["histories"][-1]
        text = f"CPU of the run after {longest['history_days']} days / that after the shortest history"
        lines += [aim(text, longest["cpu_ratio"]["median"], 1.1, "", False), *measured_on(found)]
    return lines


def _volume() -> list[str]:
    """Everything, an hour more, two workers, a query."""
    lines = []
    for found in results("volume-"):
        lines += [
            "",
            f"**{found['hourly_predictions']:,} predictions an hour, {found['days']} days, 7 binary SLIs of which one "
            f"is a distribution, 56 slices, 4 grains.** An hour more changes {max(found['hours_recomputed'])} hours.",
        ]
        names = {"everything": "everything", "two_workers": "everything by two workers of 1 GB", "hour": "an hour more"}
        lines += table(
            ["", "time", "CPU, imports too", "peak"],
            [
                [
                    words,
                    median(found[name]["seconds"]),
                    median(found[name]["cpu"]),
                    memory_of(found[name]["peak_mb"]["median"]),
                ]
                for name, words in names.items()
            ],
        )
        lines += [
            aim("An hour more", found["hour"]["seconds"]["median"], 5, " s", False),
            aim("Its peak", found["hour"]["peak_mb"]["median"] / 1000, 1, " GB", False),
            aim("Two workers / one process", found["ratio"]["median"], 1.3, "", False),
            aim("A query of the distribution over windows of 6 h", found["query"]["median"], 0.2, " s", False),
            *measured_on(found),
        ]
    return lines


def _histories(histories: list[Figures]) -> list[str]:
    lines = table(
        ["days of history", "hourly run", "fastest .. slowest", "peak", "hours recomputed", "first run"],
        [
            [
                str(each["history_days"]),
                median(each["seconds"]),
                f"{seconds(each['seconds']['min'])} .. {seconds(each['seconds']['max'])}",
                memory_of(each["peak_mb"]["median"]),
                f"{each['hours_recomputed'][-1]:,}",
                seconds(each["first_seconds"]),
            ]
            for each in histories
        ],
    )
    # Before a horizon has passed there is less for late feedback to reach.
    whole = [each for each in histories if each["history_days"] >= 10]
    if len(whole) > 1:
        growth = (whole[-1]["seconds"]["median"] / whole[0]["seconds"]["median"] - 1) * 100
        text = (
            f"The run after {whole[-1]['history_days']} days takes longer than after {whole[0]['history_days']} days by"
        )
        lines += [aim(text, growth, 10, " %", False)]
        if growth > 10:
            lines += ["- What grows: listing both logs, comparing them with the files seen, scanning the index of ids."]
    return lines


def _late(late: list[Figures]) -> list[str]:
    lines = ["", "An hourly run after a file of late feedback for all hours of the horizon, and a full recompute:"]
    lines += table(
        ["horizon", "late labels", "hours recomputed", "hourly run", "peak", "full recompute", "peak"],
        [
            [
                f"{each['horizon_days']} d",
                f"{each['late_rows']:,}",
                f"{each['hours_recomputed']:,}",
                median(each["seconds"]),
                memory_of(each["peak_mb"]["median"]),
                median(each["full_seconds"]),
                memory_of(each["full_peak_mb"]["median"]),
            ]
            for each in late
        ],
    )
    for each in late:
        ratio = each["full_seconds"]["median"] / each["seconds"]["median"]
        word = f"{ratio:.2g} times faster" if ratio > 1 else f"{1 / ratio:.2g} times slower"
        lines += [f"- With a horizon of {each['horizon_days']} days the hourly run is {word} than a full recompute."]
    return lines


def reading() -> list[str]:
    lines = ["## Reading accuracy since deployment", "", "![seconds to read](benchmarks-reading.png)"]
    for found in results("reading"):
        sizes = found["sizes"]
        readers = list(dict.fromkeys(reader for size in sizes for reader in size["readers"]))
        rows = [[name, *(_answer(size, name, "seconds") for size in sizes)] for name in readers]
        rows.insert(1, ["DuckDB, from sli's table", *(_answer(size, "sli", "direct") for size in sizes)])
        rows += [[f"{name}: prepare", *(_answer(size, name, "load") for size in sizes)] for name in readers]
        lines += table(["", *(count(size["predictions"]) for size in sizes)], rows)
        ours = [size["readers"]["sli"]["seconds"]["median"] for size in sizes]
        lines += [
            aim("The slowest reading of sli", max(ours) * 1000, 10, " ms", False),
            aim(
                "sli's time at the largest size, divided by the one at the smallest", ours[-1] / ours[0], 1.5, "", False
            ),
            "- sli reads one published row; PromQL and SQL join both logs at every reading. `prepare`: sli joins and "
            "publishes, PostgreSQL and Prometheus load the logs.",
        ]
        for name in readers:
            both = [size for size in sizes if name in size["readers"] and name != "sli"]
            ahead = [
                s for s in both if s["readers"][name]["seconds"]["median"] < s["readers"]["sli"]["seconds"]["median"]
            ]
            if ahead:
                size = count(ahead[-1]["predictions"])
                lines += [f"- {name} is faster up to {size}: it joins so few rows before sli has opened its table."]
        article = json.loads((HERE / "article.json").read_text())
        lines += ["", f"Cited, not measured here: {article['source']}:"]
        rows = [[name, *map(seconds, each)] for name, each in article["seconds"].items()]
        lines += [*table(["", *map(count, article["predictions"])], rows), *measured_on(found)]
    return lines


def _answer(size: Figures, name: str, what: str) -> str:
    if name not in size["readers"]:
        return size["failed"].get(name, "-")[:80]
    value = size["readers"][name][what]
    return median(value) if isinstance(value, dict) else seconds(value)


def memory() -> list[str]:
    lines = ["## Peak memory"]
    for found in results("memory"):
        limit = f"{found['limit_mib'] / 1024:g} GiB"
        lines += [
            "",
            f"A full recompute by {found['workers']} worker processes with `memory: {found['memory']}`. A process that "
            f"takes more than {limit} is killed. All runs complete.",
        ]
        lines += table(
            ["predictions", "logs", "time", "largest process", "all processes"],
            [
                [
                    count(each["predictions"]),
                    memory_of(each["log_mb"]),
                    seconds(each["seconds"]),
                    memory_of(each["processes_mb"][0]),
                    memory_of(each["peak_mb"]),
                ]
                for each in found["sizes"]
            ],
        )
        lines += measured_on(found)
    return lines


def many_results() -> list[str]:
    lines = ["## Peak memory by the number of results"]
    for found in results("results"):
        lines += ["", "![peak memory by results](benchmarks-results.png)", ""]
        lines += [f"More windows over the same logs, with `memory: {found['memory']}`:"]
        lines += table(
            ["results", "workers", "time", "CPU, imports too", "peak"],
            [
                [
                    f"{each['results']:,}",
                    str(each["workers"] or "in process"),
                    seconds(each["seconds"]),
                    seconds(each["cpu"]),
                    memory_of(each["peak_mb"]),
                ]
                for each in found["sizes"]
            ],
        )
        lines += measured_on(found)
    for found in results("wide"):
        lines += [
            "",
            f"26 SLIs, 6 slicings and 7 grains over {count(found['predictions'])} predictions with `memory: "
            f"{found['memory']}`: {found['results']:,} results, {seconds(found['seconds'])}, "
            f"{memory_of(found['peak_mb'])}.",
            *measured_on(found),
        ]
    return lines


def unattended() -> list[str]:
    lines = ["## A year that nobody watches"]
    for found in results("unattended"):
        end, most = found["looks"][-1], max(look["files"] for look in found["looks"])
        lines += [
            "",
            f"A model with 5 predictions an hour, grains hour and day, `keep_files: 1d`: {found['runs']:,} runs in "
            f"{end['hours'] / 24:.0f} days, the first 200 and the last 100 of them hourly. At the end the store has "
            f"{end['files']:,} files (at most {most:,}), of which {end['live_files']:,} have what is published, and "
            f"{times(end['bytes'] / end['live_bytes'])} of the bytes of these. "
            f"{found['read_the_same']} of {found['read_then']} times what was known then is read as it was.",
            "",
            f"The last 100 runs take {times(found['last_100'] / found['second_100'])} of the CPU time of the second "
            f"100: {found['second_100']:.2f} and {found['last_100']:.2f} s.",
            "",
            "![files of the store](benchmarks-unattended.png)",
            *measured_on(found),
        ]
    return lines


def scaling() -> list[str]:
    lines = ["## Workers"]
    for found in results("scaling"):
        constants, paper = found["constants"], found["paper"]
        lines += [
            "",
            f"A full recompute of {count(found['predictions'])} predictions:",
            *table(
                ["`memory:` of a task", "strategy", "tasks", "one worker process", "two", "gain"],
                [
                    [
                        each["memory"],
                        each["strategy"],
                        str(each["tasks"]),
                        median(each["one"]),
                        median(each["two"]),
                        times(each["one"]["median"] / each["two"]["median"]),
                    ]
                    for each in found["workers"]
                ],
            ),
            f"**On paper: {paper['workers']:,} workers, {count(paper['daily'])} predictions a day.** Both logs get "
            f"{paper['files_an_hour']} files an hour, the horizon is 7 days, `memory: {paper['memory']}`. sli "
            "plans the run from a listing of files that do not exist. Each task costs the driver and the scheduler "
            f"{constants['seconds_a_task'] * 1000:.1f} ms and {constants['task_bytes']:,} bytes, measured "
            f"({constants['on']}) with {constants['tasks']:,} tasks that carry what sli's tasks carry. "
            f"There are {paper['slices']:,} slices and 12 SLIs, of which three are distributions: a tile takes "
            f"{constants['tile_bytes'] / 1000:,.0f} kB, of which the driver keeps {constants['outline_bytes']:,.0f} "
            "bytes.",
        ]
        names = {"all": f"first run of {paper['days']} days", "day": "recompute of one day"}
        lines += table(
            [
                "",
                "tasks",
                "that read",
                "that build tiles",
                "that roll up",
                "read",
                "packets sent",
                "graph",
                "scheduling",
            ],
            [
                [
                    names[name],
                    f"{plan['tasks'] + plan['stretches']:,}",
                    f"{plan['wide']:,}",
                    f"{plan['built_by']:,}",
                    f"{plan['stretches']:,}",
                    f"{plan['read_gb']:,.0f} GB",
                    f"{plan['blocks']:,}",
                    memory_of(plan["graph_mb"]),
                    seconds((plan["tasks"] + plan["stretches"]) * constants["seconds_a_task"]),
                ]
                for name, plan in paper["plans"].items()
            ],
        )
        for name, plan in paper["plans"].items():
            tiles = plan["tiles"] * constants["tile_bytes"] / 1e6
            kept = memory_of(plan["tiles"] * constants["outline_bytes"] / 1e6)
            lines += [
                f"- {names[name]}: {plan['tiles']:,} tiles, {memory_of(tiles)} of states, pass through the store; the "
                f"driver keeps {kept} of them, and adds them up to days part by part. "
                f"{plan['results']:,} results at most."
            ]
            if plan["wide"] < paper["workers"] / 2:
                idle = f"{paper['workers'] - plan['wide']:,} of {paper['workers']:,} workers are idle"
                lines += [f"- {names[name]}: only {plan['wide']:,} tasks read the logs, so {idle} meanwhile."]
        lines += measured_on(found)
    return lines


def fixed() -> list[str]:
    lines = ["## Fixed cost"]
    for found in results("fixed"):
        starts = {name: each["median"] for name, each in found["starts"].items()}
        alone = starts.pop("python")
        rows = [[f"`{name}`", f"{each - alone:.3f}"] for name, each in starts.items()]
        lines += table(["imports", "seconds more than Python alone"], rows)
        lines += [aim("`import sli`", starts["import sli"] - alone, 0.5, " s", False), ""]
        lines += ["The command `sli run` when there is nothing to do:"]
        rows = [
            [f"{each['days']:,}", f"{each['files']:,}", f"{each['seconds']['median']:.2f}"] for each in found["idle"]
        ]
        lines += [*table(["days of history", "files", "seconds"], rows), *measured_on(found)]
    for found in results("commands"):
        names = {**{f"`{name}`": each for name, each in found["commands"].items()}, **found["cpu"]}
        rows = [[name, f"{each['median']:.2f}"] for name, each in names.items()]
        head = [
            "commands on a year of flights, and imports",
            "seconds of CPU, whole process" + ", other work beside" * found.get("busy", False),
        ]
        lines += ["", *table(head, rows), *measured_on(found)]
    return lines


RATIOS = {"all binary SLIs / accuracy alone": 3, "1,000 slices / none": 2}
"""The most that one may take of what the other takes."""


def pairs() -> list[str]:
    lines = ["## Many SLIs, many slices, schedules"]
    for found in [*results("catalogue"), *results("functions"), *results("scheduled")]:
        lines += table(
            [f"{count(found['predictions'])} predictions", "one", "other", "ratio"],
            [
                [
                    each["name"],
                    median(each["seconds"]),
                    median(each["against"]),
                    f"{each['ratio']['median']:.2f}",
                ]
                for each in found["pairs"]
            ],
        )
        for each in found["pairs"]:
            if bound := next((bound for start, bound in RATIOS.items() if each["name"].startswith(start)), None):
                lines += [aim(each["name"], each["ratio"]["median"], bound, "", False)]
        lines += measured_on(found)
    return lines


LIMITS = {"where": 1.1, "struct": 1.1, "ids as text": 1.1, "ids of two": 1.25}
"""The most that a shape may take of what plain columns take."""


def shapes() -> list[str]:
    lines = ["## Logs as they are"]
    for found in results("shapes"):
        lines += [f"A full recompute of {count(found['predictions'])} predictions, the same rows read by other keys:"]
        rows = [
            [each["shape"], f"{each['cpu_seconds']['median']:.1f}", f"x {each['to_plain']['median']:.2f}"]
            for each in found["shapes"]
        ]
        lines += table(["keys", "seconds of CPU", "to plain columns"], rows)
        for each in found["shapes"]:
            if limit := LIMITS.get(each["shape"]):
                lines += [aim(f"{each['shape']}, to plain columns", each["to_plain"]["median"], limit, "", False)]
        lines += measured_on(found)
    return lines


def share(value: float | None) -> str:
    """94.5 %, or - where there is none."""
    return "-" if value is None else f"{value * 100:.1f} %"


def whole(value: float | None, most: str = "-") -> str:
    return most if value is None else f"{value:.0f}"


def differences() -> list[str]:
    lines = ["## Intervals of differences that share pairs"]
    for found in results("differences"):
        sizes = sorted({each["n"] for each in found["rows"]})
        cells = {(each["sli"], each["case"], each["n"]): each for each in found["rows"]}
        lines += [
            "",
            f"How often the interval at 0.95 of `of_sharing` holds the true difference, {found['draws']:,} times "
            "drawn from a known population. `half`: two windows that share half of their pairs; `nested`: a slice of n "
            "pairs, and the whole, of which it is 0.3; `unlike`: the slice has harder pairs than the whole.",
        ]
        names = dict.fromkeys((each["sli"], each["case"]) for each in found["rows"])
        rows = [[f"{sli}, {case}", *(share(cells[sli, case, n]["held"]) for n in sizes)] for sli, case in names]
        lines += table(["", *(f"n = {n:,}" for n in sizes)], rows)
        low = [each for each in found["rows"] if each["held"] is not None and each["held"] < 0.93]
        few = ", ".join(f"{each['sli']}, {each['case']}, n = {each['n']:,}" for each in low)
        lines += [f"- Below 93 %: {few or 'none'}."]
        if none := [each for each in found["rows"] if each["without"] > 0.5]:
            which = ", ".join(dict.fromkeys(f"{each['sli']} of {each['n']}" for each in none))
            lines += [f"- Mostly without an interval, because a value has none: {which}."]
        lines += measured_on(found)
    return lines


def since_when() -> list[str]:
    lines = ["## Since when is it worse?"]
    for found in results("since_when"):
        lines += [
            "",
            f"Alarms in {found['runs']:,} years in which nothing changes. Weeks of the demo's flights are drawn with "
            "replacement, one or three that follow each other at a time. Three weeks together keep much of the "
            "seasons: three of July, then three of February, look like a real change for six weeks, so part of these "
            "alarms is right. `stands`: the share of days on which an alarm stands. `alike`: years with an alarm if "
            "all weekdays have one mean, so that a weak Sunday counts as a bad day.",
        ]
        by = {(each["sli"], each["slice"], each["weeks"]): each for each in found["real"]}
        rows = [
            [
                f"{sli}, {slice}",
                *(share(by[sli, slice, weeks][name]) for weeks in (1, 3) for name in ("a year", "standing")),
                share(by[sli, slice, 1]["without weekdays"]),
            ]
            for sli, slice in dict.fromkeys(key[:2] for key in by)
        ]
        lines += table(["", "1 week: a year", "stands", "3 weeks: a year", "stands", "1 week, alike"], rows)
        lines += [
            "",
            "The same days with a change that lasts, and one that lasts 100 days (`ends after`, median days):",
        ]
        rows = [
            [
                f"{each['sli']} {each['change']:+g}",
                whole(each["median"], "not in a year"),
                share(each["within 60 days"]),
                share(each["within 60 days without weekdays"]),
                whole(each["onset off by"]),
                share(each["stands at the end"]),
                whole(each["ends after"]),
            ]
            for each in found["real changes"]
        ]
        head = ["median days to the alarm", "in 60 days", "in 60 days, alike", "first day off by", "stands at last"]
        lines += table(["", *head, "ends after"], rows)
        lines += _shares(found) + measured_on(found)
    return lines


def _shares(found: Figures) -> list[str]:
    """False alarms and delays of simulated shares."""
    drops = {(each["share"], each["spread"], each["n"], each["drop"]): each for each in found["share drops"]}
    rows = []
    for each in found["shares"]:
        world = each["share"], each["spread"], each["n"]
        later = (drops[(*world, drop)] for drop in (0.02, 0.05))
        cells = [
            cell for one in later for cell in (whole(one["median"], "not in a year"), share(one["within 60 days"]))
        ]
        rows.append([f"{world[0]}, {world[1]:g}, {world[2]:,}", share(each["a year"]), *cells])
    head = [
        "years with a false alarm",
        "drop of 0.02: median days",
        "in 60 days",
        "drop of 0.05: median days",
        "in 60 days",
    ]
    text = "Shares whose log odds vary from day to day with this standard deviation:"
    return ["", text, *table(["share, deviation, pairs a day", *head], rows)]


SECTIONS: dict[str, Callable[[], list[str]]] = {
    "whole-|flat-|hourly-|reading": in_short,
    "whole-|flat-|volume-|late-|commands|on_s3|catalogue|functions|spread": lambda: limits(results),
    "whole-": whole_job,
    "hourly-|late-|flat-|volume-": hourly,
    "on_s3": on_s3,
    "reading": reading,
    "full-": full,
    "memory": memory,
    "results|wide": many_results,
    "unattended": unattended,
    "scaling": scaling,
    "fixed|commands": fixed,
    "catalogue|functions|scheduled": pairs,
    "shapes": shapes,
    "differences": differences,
    "since_when": since_when,
}


def main() -> None:
    parts = ["\n".join(section()) for name, section in SECTIONS.items() if results(name)]
    text = "\n\n".join([INTRODUCTION, *parts]) + "\n"
    (DOCS / "benchmarks.md").write_text(re.sub(r"\n{3,}", "\n\n", text))
    if runs := results("full-"):
        plot_full(runs)
    for found in results("results"):
        plot_results(found["sizes"])
    for found in results("unattended"):
        plot_unattended(found["looks"])
    if found := results("reading"):
        plot_reading([size for each in found for size in each["sizes"]])


if __name__ == "__main__":
    main()
