"""Each example of docs/semantics.md is run by the product, and the tables it shows must be the tables there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples import BLOCK, Example, show

BLOCKS = BLOCK.findall((Path(__file__).parents[2] / "docs/semantics.md").read_text())


def test_the_page_has_its_examples() -> None:
    assert len(BLOCKS) >= 17


@pytest.mark.parametrize("block", BLOCKS)
def test_an_example_shows_what_the_product_does(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    show(Example(tmp_path), block)
