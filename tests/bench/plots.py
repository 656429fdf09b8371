"""The plots of the page, from the figures in results/ alone.

Limit: but for the year that nobody watches both axes are logarithmic; bars reach from the fastest round to the slowest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE, DOCS = Path(__file__).parent, Path(__file__).parents[2] / "docs"
Figures = dict[str, Any]
COLOURS = {
    "sli": "#c0392b",
    "DuckDB": "#444444",
    "Polars": "#1f77b4",
    "pandas": "#7f8fa6",
    "Dask": "#e69f00",
    "PySpark": "#8e5ea2",
    "PostgreSQL": "#2a9d8f",
    "Prometheus": "#e67e22",
    "NannyML": "#b5651d",
    "Evidently": "#9aa000",
}
TITLES = {"plain": "clean logs", "settled": "doubles and corrections settled, per region"}


def plot_full(runs: list[Figures]) -> None:
    """Seconds by predictions, a line a peer, a panel a scenario."""
    scenarios = [each for each in TITLES if any(run["scenario"] == each for run in runs)]
    figure, axes = plt.subplots(1, len(scenarios), figsize=(11, 4.6), sharey=True, squeeze=False)
    for axis, scenario in zip(axes[0], scenarios, strict=True):
        of = [run for run in runs if run["scenario"] == scenario]
        for peer in dict.fromkeys(peer for run in of for peer in run["peers"]):
            points = [(run["predictions"], run["peers"][peer]["seconds"]) for run in of if peer in run["peers"]]
            _line(axis, peer, points)
        sizes = [run["predictions"] for run in of]
        axis.set_xlim(min(sizes) / 1.6, max(sizes) * 1.6)
        axis.set_title(TITLES[scenario], fontsize=10)
        axis.set_xlabel("predictions")
    axes[0][0].set_ylabel("seconds of a full recompute")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(0.99, 0.5))
    _saved(figure, "full")


def plot_reading(sizes: list[Figures]) -> None:
    """Seconds to read, by predictions; the article's own in dashes."""
    figure, axis = plt.subplots(figsize=(8, 4.6))
    for reader in dict.fromkeys(reader for size in sizes for reader in size["readers"]):
        points = [(s["predictions"], s["readers"][reader]["seconds"]) for s in sizes if reader in s["readers"]]
        _line(axis, reader, points)
    article = json.loads((HERE / "article.json").read_text())
    for reader, times in article["seconds"].items():
        label = f"{reader}, as published in the article"
        axis.plot(article["predictions"], times, "--", color=COLOURS[reader], lw=1, label=label)
    axis.set_xlabel("predictions")
    axis.set_ylabel("seconds to read accuracy since deployment")
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _saved(figure, "reading")


def plot_results(sizes: list[Figures]) -> None:
    """Peak memory by the number of results."""
    figure, axis = plt.subplots(figsize=(8, 4))
    _line(axis, "sli", [(size["results"], dict.fromkeys(("min", "median", "max"), size["peak_mb"])) for size in sizes])
    axis.set_ylim(100, 10_000)
    axis.set_xlabel("results")
    axis.set_ylabel("peak memory, MB")
    _saved(figure, "results")


def plot_unattended(looks: list[Figures]) -> None:
    """Files of the store as the year goes by: all of them, and those with rows that are published."""
    figure, axis = plt.subplots(figsize=(8, 4))
    days = [look["hours"] / 24 for look in looks]
    axis.plot(days, [look["files"] for look in looks], color=COLOURS["sli"], lw=2.6, label="all files")
    axis.plot(
        days, [look["live_files"] for look in looks], color=COLOURS["DuckDB"], lw=1.3, label="with what is published"
    )
    axis.set_xlabel("days")
    axis.set_ylabel("files of the store")
    axis.set_ylim(0)
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    _saved(figure, "unattended")


def _line(axis: Any, name: str, points: list[tuple[int, Figures]]) -> None:
    x, spreads = zip(*points, strict=True)
    y = [each["median"] for each in spreads]
    bars = [[each["median"] - each["min"] for each in spreads], [each["max"] - each["median"] for each in spreads]]
    width = 2.6 if name == "sli" else 1.3
    axis.errorbar(x, y, yerr=bars, marker="o", ms=4, lw=width, capsize=2, color=COLOURS[name], label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.grid(alpha=0.3, which="major")
    axis.spines[["top", "right"]].set_visible(False)


def _saved(figure: Any, name: str) -> None:
    figure.tight_layout()
    path = DOCS / f"benchmarks-{name}.png"
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
