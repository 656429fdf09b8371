"""What becomes of cases of the corpus: one run over their files beside good ones, and what its tables tell of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow.parquet as pq
import yaml
from builders import config_tree
from corpus.cases import CASES, FILE, LOGS, Aside, Case, Read, rows

import sli

GOOD = "good"
"""The case of the good files, three in each log: most files of a log decide on the types of all."""
COLUMNS = {"id": "id", "time": "at", "value": "value"}
AS_OF = "2024-02-01"
RESULTS = ["sli", "grain", "window_start", "window_end", "slice", "value", "reason", "ci_low", "ci_high", "predictions"]


class Fate(NamedTuple):
    """What a run did with the file of a case: rows that count, and its rows of the audit by check: count and reason."""

    rows: int
    audited: dict[str, tuple[int, str]]

    def meets(self, outcome: Read | Aside) -> bool:
        if isinstance(outcome, Read):
            counts = {check: count for check, (count, _) in self.audited.items()}
            return (self.rows, counts) == (outcome.rows, outcome.audited)
        [(check, (count, reason))] = self.audited.items() if len(self.audited) == 1 else [("", (0, ""))]
        return (self.rows, check, count) == (0, outcome.check, outcome.rows) and outcome.reason in reason


class Told(NamedTuple):
    """What a run over cases told: of each case and log, of the good files, and of rows of whole logs."""

    fates: dict[tuple[str, str], Fate]
    good: pd.DataFrame
    of_logs: dict[str, Counter[str]]
    """By log: how many rows each check of the audit counts that names no file."""


def config(folder: Path, **changes: Any) -> Path:
    """The config of a folder with both logs, on disk."""
    tree = config_tree(folder, COLUMNS, COLUMNS, slice_by=[[], ["case"]], grains=["hour", "day"], **changes)
    path = folder / "sli.yaml"
    path.write_text(yaml.safe_dump(tree | {"slis": ["accuracy", "roc_auc", "log_loss", "count"]}))
    return path


def lay_out(folder: Path, cases: Iterable[Case]) -> None:
    """Write the files of cases, and beside each its good counterpart in the other log, and the good files."""
    for number in range(3):
        for log in LOGS:
            path = folder / log / f"case={GOOD}" / f"{number}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows(log, f"{GOOD}-{number}"), path)
    for case in cases:
        for log, other in zip(LOGS, reversed(LOGS), strict=True):
            if case.outcome(log) is None:
                continue
            name = named(case.name, log)
            for each in LOGS:
                (folder / each / f"case={name}").mkdir(parents=True)
            case.make(folder / log / f"case={name}" / FILE, rows(log, name))
            beside = folder / other / f"case={name}" / FILE
            if case.both:
                case.make(beside, rows(other, name))
            else:
                pq.write_table(rows(other, name), beside)


def named(name: str, log: str) -> str:
    """The slice of a case whose hostile file is in a log."""
    return (
        f"{name} in {log}".replace("/", "|")
        .replace("%", "percent")
        .replace("\\", "_")
        .replace("=", "is")
        .replace("?", "what")
    )


def tell(folder: Path, names: Iterable[str]) -> Told:
    """Run over these cases, and tell what became of each."""
    cases = [CASES[name] for name in names]
    lay_out(folder, cases)
    path = config(folder)
    sli.run(path, as_of=AS_OF)
    found = sli.read(path, grain="hour", sli="count")
    found = found[found.slice_by.map(len) == 1]
    counts = {row.slice["case"]: (row.predictions, row.labelled) for row in found.itertuples()}
    files, of_logs = dict[tuple[str, str], dict[str, tuple[int, str]]](), {log: Counter[str]() for log in LOGS}
    for row in sli.read(path, table="audit").itertuples():
        if isinstance(row.file, str):
            name = Path(row.file).parent.name.removeprefix("case=")
            files.setdefault((row.log, name), {})[row.check] = (row.count, row.explanation)
        else:
            of_logs[row.log][row.check] += row.count
    fates = {}
    for case in cases:
        for place, log in enumerate(LOGS):
            if case.outcome(log) is not None:
                name = named(case.name, log)
                both = counts.get(name, (0, 0))
                fates[case.name, log] = Fate(min(both) if case.both else both[place], files.get((log, name), {}))
    good = sli.read(path, slice={"case": GOOD})[RESULTS]
    return Told(fates, good, of_logs)
