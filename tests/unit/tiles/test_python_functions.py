"""Python functions on all pairs of an hour, which has more of them than a sample keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from builders import config_tree

import sli
from sli.config.load import checked
from sli.slis.kinds.samples import SAMPLE_ROWS

OWN = """
def of_first(y_true, y_pred):
    return float(y_pred[:, 0].mean())
"""


def test_scores_that_are_texts_are_read_as_in_a_small_hour(tmp_path: Path) -> None:
    """Spaces around a number are no part of it."""
    (tmp_path / "own_texts.py").write_text(OWN)
    rows = SAMPLE_ROWS + 100
    hours = np.where(np.arange(rows + 4) < rows, 0, 1)
    at = pd.Timestamp("2024-01-15", tz="UTC") + pd.to_timedelta(hours, unit="h")
    frame = pd.DataFrame({"output_id": [f"{i}" for i in range(rows + 4)], "predicted_at": at, "known_at": at})
    frame = frame.assign(score="cat", label="cat", a=np.where(np.arange(rows + 4) % 2, " 0.25", "0.75 "), b="0.5")
    for log, columns in {"predictions": ["predicted_at", "score", "a", "b"], "feedback": ["known_at", "label"]}.items():
        (tmp_path / log).mkdir()
        frame[["output_id", *columns]].to_parquet(tmp_path / log / "0.parquet", index=False)
    tree = config_tree(
        tmp_path,
        since="2024-01-15",
        task="multiclass",
        classes=["cat", "dog"],
        slis=[{"name": "own", "python": "own_texts:of_first", "of": "scores"}],
        grains=["hour"],
        folder=str(tmp_path),
    )
    tree["predictions"]["scores"] = {"cat": "a", "dog": "b"}
    config = checked(tree)
    sli.run(config, as_of="2024-01-18")
    assert sli.read(config).value.tolist() == [0.5, 0.5]
