"""`sli init` writes, for each shape of logs, a config that finds what is true of them and computes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from shapes import SHAPES, Shape

import sli
from sli.command.init import planned, write_config
from sli.config.load import load_config


def at(tree: Any, key: str) -> Any:
    """The value of a dotted key in a config; None if it is not there."""
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_init_writes_a_config_that_computes_what_plain_pandas_does(shape: Shape, tmp_path: Path) -> None:
    if not shape.is_there:
        pytest.skip(f"the data of this shape is in the package {shape.package}, which is not installed")
    shape.write(tmp_path)
    path = tmp_path / "sli.yaml"
    write_config(
        path, [str(tmp_path / shape.predictions)], [str(tmp_path / shape.feedback)], str(tmp_path / "store"), "UTC"
    )
    text = path.read_text()
    config = yaml.safe_load(text)
    assert config["task"] == shape.task
    assert {key: at(config, key) for key in shape.keys} == dict(shape.keys)
    assert [mark for mark in shape.marks if mark not in text] == []
    assert "roll up the windows" in " ".join(planned(path))
    cheaper = load_config(path, ["grains=[cumulative]", f"slis=[{', '.join(shape.truth)}]"])
    sli.run(cheaper)
    results = sli.read(cheaper, slice={}).groupby("sli").value.last()
    assert results.to_dict() == pytest.approx(shape.truth)
