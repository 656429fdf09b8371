"""The aims that a person set for speed, each with what it is now, and what the least possible is where it is missed.

Limit: as in `page`, words are written here, and numbers come from the figures in results/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from plots import Figures

Results = Callable[[str], list[Figures]]
Aim = tuple[str, float, float, str, str]
"""What is measured, its figure, the most it may be, the unit, and what limits it."""


def limits(results: Results) -> list[str]:
    """The section: a line for each aim."""
    rows = [_row(*aim) for part in (_whole, _hours, _late, _commands, _s3, _many) for aim in part(results)]
    return [
        "## Aims and limits",
        "",
        "| | now | aim | what limits it |",
        "|---|---:|---:|---|",
        *rows,
    ]


def _row(what: str, found: float, bound: float, unit: str, why: str) -> str:
    met = found <= bound
    limit = "**met**" if met else f"**not met**: {why}"
    return f"| {what} | {found:.3g}{unit} | {bound:g}{unit} | {limit} |"


def _floor(results: Results, name: str) -> str:
    """What a kernel alone takes on one core, in words."""
    found = [each["seconds"][name]["median"] for each in results("floors") if name in each["seconds"]]
    return f"{found[0]:.1f} s" if found else "-"


def _whole(results: Results) -> Iterator[Aim]:
    for run in results("whole-"):
        if run["predictions"] != 1_000_000:
            continue
        ours, phases = run["peers"]["sli"], run["peers"]["sli"]["phases"]
        pandas, duck = run["peers"]["pandas"], run["peers"]["DuckDB"]
        yield (
            "the whole job over 1M predictions",
            ours["seconds"]["median"],
            6,
            " s",
            f"the aim stood on a DuckDB script that was badly written; written well it takes "
            f"{duck['seconds']['median']:.0f} s, and pandas, which gives values alone, {pandas['cpu']['median']:.0f} s "
            f"of CPU. Of sli's {ours['cpu']['median']:.0f} s, matching takes {phases['matching']:.1f} (the join alone "
            f"{_floor(results, 'join of the whole job at 1M')}, sorting the scores alone "
            f"{_floor(results, 'sort of the whole job at 1M')}), adding up days {phases['adding up days']:.1f}, and "
            f"rolling up {phases['rolling up']:.1f}: {run['values']:,} values with intervals and worst cases",
        )
        yield (
            "its peak",
            ours["peak_mb"]["median"] / 1000,
            1,
            " GB",
            "without `memory:` a task may take its share of the machine's; `memory:` bounds it (see the peaks below)",
        )


def _hours(results: Results) -> Iterator[Aim]:
    for found in results("flat-"):
        longest, hourly = found["histories"][-1], found["hourly_predictions"]
        yield (
            f"CPU of an hourly run of {hourly:,} after {longest['history_days']} days / after a day",
            longest["cpu_ratio"]["median"],
            1.1,
            "",
            "what grows is listing the logs and comparing them with the files seen",
        )
    for found in results("volume-"):
        hour, hourly = found["hour"], found["hourly_predictions"]
        name = f"ids of {max(found['hours_recomputed'])} hours of {hourly:,}"
        yield (
            f"an hour more at {hourly:,} predictions an hour",
            hour["seconds"]["median"],
            5,
            " s",
            f"{hour['cpu']['median']:.0f} s of CPU: late labels lie in {max(found['hours_recomputed'])} hours. Their "
            f"ids are found by reading and hashing those of all these hours, alone {_floor(results, name)}; then the "
            "tiles of four days are read, changed, written, and added up to days",
        )
        yield (
            "its peak",
            hour["peak_mb"]["median"] / 1000,
            1,
            " GB",
            "the tiles of two days are in memory, that of one while that of the next is written",
        )
        yield (
            "two workers of 1 GB / one process",
            found["ratio"]["median"],
            1.3,
            "",
            "more and smaller tasks: each reads the feedback of its time and beyond, and each process imports all",
        )
        yield "a query of a distribution by 6 h", found["query"]["median"], 0.2, " s", ""


def _late(results: Results) -> Iterator[Aim]:
    for found in results("late-"):
        for each in found["late"]:
            hourly, days = found["hourly_predictions"], each["horizon_days"]
            part = each["seconds"]["median"] / each["full_seconds"]["median"]
            name = f"ids of {days} days of {hourly:,} an hour"
            yield (
                f"late feedback for {days} days at {hourly:,} an hour / everything anew",
                part,
                1 if hourly < 20_000 else 0.2,
                "",
                f"the ids of all these days are read again: alone {_floor(results, name)} of CPU; and everything anew "
                "became faster, too",
            )


def _commands(results: Results) -> Iterator[Aim]:
    for found in results("commands"):
        cpu = {name: each["median"] for name, each in found["cpu"].items()}
        names = {
            "sli query": ("these, duckdb, pydantic, deltalake", "numpy, pandas, pyarrow, DuckDB, pydantic, deltalake"),
            "sli show": ("these, scipy.special", "these and SciPy, whose bits Student's intervals have,"),
        }
        bounds = {"sli run, nothing to do": 0.4, "sli query": 0.7, "sli show": 0.7}
        for name, each in found["commands"].items():
            imports, words = names.get(name, ("python", ""))
            libraries = cpu[imports] - cpu["python"]
            rest = each["median"] - libraries - cpu["python"]
            yield (
                f"`{name}`, a year of flights, seconds of CPU, whole process",
                each["median"],
                bounds[name],
                " s",
                f"importing {words} alone takes {libraries:.2f} s of CPU (pyarrow imports pandas once it converts "
                f"anything); {rest:.2f} s are sli's, its imports included",
            )


def _s3(results: Results) -> Iterator[Aim]:
    aims = {"hourly": 2.5, "idle": 0.8, "show": 1.5}
    words = {"hourly": "an hourly run on S3", "idle": "nothing to do on S3", "show": "`sli show` on S3"}
    for found in results("on_s3"):
        for name, bound in aims.items():
            yield (
                f"{words[name]}, {found['requests'][name]['all']:,} requests",
                found["seconds"][name]["median"],
                bound,
                " s",
                "most of it is CPU of this process, imports and the join included; then seven tables are committed one "
                "after another, so that a run that is killed leaves them in an order that the next one knows",
            )


def _many(results: Results) -> Iterator[Aim]:
    why = {
        "all binary SLIs / accuracy alone": (
            3,
            "of counts and sums alone it is met; the others keep the scores of each hour and slice, sorted",
        ),
        "1,000 slices / none": (2, "there are a thousand times as many tiles and results, which are all written"),
    }
    for found in results("catalogue"):
        for each in found["pairs"]:
            for start, (bound, reason) in why.items():
                if each["name"].startswith(start) and each["name"].endswith("CPU"):
                    yield f"{each['name']}, {found['predictions']:,}", each["ratio"]["median"], bound, "", reason
    for found in results("functions"):
        pair, without = found["pairs"][1], found["pairs"][1]["against"]["median"]
        own = found["own"]["median"]
        yield (
            "three Python functions / none, CPU",
            pair["ratio"]["median"],
            3,
            "",
            f"{found['calls']:,} calls: the functions' own code takes {own:.0f} s beside {without:.0f} s for all else, "
            f"{1 + own / without:.1f} times in all; drawing the resamples takes the rest",
        )
    for found in results("spread"):
        by = {each["workers"]: each["seconds"] for each in found["sizes"]}
        yield (
            f"two workers / one, {found['sizes'][0]['results']:,} results",
            by[2] / by[1],
            1 / 1.6,
            "",
            "reading logs, adding up days and the commit are one after another, and a start of workers takes seconds; "
            f"one process alone, which rolls up two stretches at once, takes {by[0]:.0f} s, a worker {by[1]:.0f} s",
        )
