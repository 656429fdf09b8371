"""Tables as people read them: lines that fit, nothing hidden in a pipe."""

from __future__ import annotations

import pytest

from sli.command.grid import Column, columns, lines, printed

WIDE = [(f"2024-01-{i:02}", "a" * 30, *(f"{i + j / 1000:.3f}" for j in range(24)), "final") for i in range(1, 4)]
NAMES = ["window", "slice", *(f"measure_{j}" for j in range(24)), "maturity"]


def wide() -> list[Column]:
    return columns(NAMES, WIDE, whole=["window"], left=["slice", "maturity"])


def test_in_a_pipe_every_value_is_whole_and_a_row_is_a_line() -> None:
    found = lines(wide(), None, keys=2)
    assert len(found) == 4
    for row, line in zip(WIDE, found[1:], strict=True):
        assert line.split() == list(row)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_on_a_terminal_a_wide_table_goes_on_in_blocks_that_fit_and_each_has_its_dates(width: int) -> None:
    found = lines(wide(), width, keys=2)
    assert max(map(len, found)) <= width
    assert found.count("") == sum(line.startswith("window") for line in found) - 1
    for block in "\n".join(found).split("\n\n"):
        assert [line[:10] for line in block.split("\n")[1:]] == [row[0] for row in WIDE]
    for value in (cell for row in WIDE for cell in row[2:]):
        assert any(value in line.split() for line in found)


@pytest.mark.parametrize("width", [60, 80, 400])
def test_without_blocks_the_last_columns_are_left_out_and_named(width: int) -> None:
    found = lines(wide(), width, must=3)
    assert max(map(len, found)) <= width
    assert found[1].split()[0] == "2024-01-01"
    shown = found[0].split()
    assert found[-1].startswith("no room for: ") == (len(shown) < len(NAMES))


def test_texts_are_cut_before_numbers_and_wide_letters_count_twice() -> None:
    given = columns(["what", "n"], [("ÄÖ漢字" * 20, "1,234,567"), ("short", "2")], left=["what"])
    found = lines(given, 40, must=2)
    assert found[1].endswith("…  1,234,567")
    assert found[2].startswith("short ")
    assert lines(given, None)[1] == "ÄÖ漢字" * 20 + "  1,234,567"


def test_a_text_cannot_move_the_cursor_or_start_a_line() -> None:
    assert printed("a\nb\x1b[31m\tc") == "a\\nb\\x1b[31m\\tc"
    assert printed("Zürich 漢字") == "Zürich 漢字"
