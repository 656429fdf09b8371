"""The value of an SLI on frames of plain pairs, by the brute force that `sli verify` uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sli.reading.brute_force import PlainPairs, Rules, values_of
from sli.slis import Formula
from sli.slis.custom.function import UserFunction
from sli.slis.terms import states_of_pairs

HOUR = 3_600_000_000
TIMES = {"predicted_at": "2024-01-01", "known_at": None}
ALL_TIME = (-(2**63), 2**63 - 1)


def value_on(formula: Formula, *frames: pd.DataFrame, task: str = "regression") -> float:
    """The value of the pairs of a frame, compared with those of a second one if there is one; NaN if undefined.

    A frame needs the columns that the SLI looks at.
    """
    arguments = getattr(getattr(formula.value, "value", None), "args", ())
    called: Any = next((each for each in arguments if isinstance(each, UserFunction)), None)
    classes = called.classes if called else ()
    states = states_of_pairs(formula)
    rules = Rules(
        task="multiclass" if classes else task,
        columns=sorted({name for frame in frames for name in frame if not name.startswith("slice:")} - PAIR),
        states={state.id: state for state in states.values()},
        functions={state.call: called for state in states.values() if state.call},
        tile=HOUR,
        level=0.95,
    )
    sides = []
    for frame in frames:
        sliced = PlainPairs(completed(frame, classes), rules).sliced(())
        row_of = np.zeros(len(sliced.keys), dtype=np.int64)
        sides.append(sliced.merged(ALL_TIME, rules.states, row_of, 1))
    return float(values_of(formula, *sides).value[0])


PAIR = {"label", "prediction", "decision", "labelled", "usable", "delay", "predicted_at", "known_at", "query"} | {
    "value",
    "value_label",
}


def completed(frame: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """The frame with all columns of a pair."""
    places = {name: i for i, name in enumerate(classes)}
    missing: dict[str, Any] = {"label": None, "prediction": None, "decision": None, "delay": np.nan, "query": None}
    frame = frame.assign(**{name: value for name, value in missing.items() if name not in frame})
    for name, of in (("value_label", "label"), ("value", "prediction")):
        if name not in frame:
            column = frame[of].map(places) if classes else pd.to_numeric(frame[of], errors="coerce")
            frame = frame.assign(**{name: column.astype("float64")})
    for name, text in TIMES.items():
        if name not in frame:
            times = pd.Series(
                pd.Timestamp(text, tz="UTC") if text else pd.NaT, frame.index, dtype="datetime64[us, UTC]"
            )
            frame = frame.assign(**{name: times})
    given = {"labelled": frame.label.notna(), "usable": frame.label.notna() & frame.prediction.notna()}
    return frame.assign(**{name: column for name, column in given.items() if name not in frame})
