"""What is printed can be printed anywhere: in ASCII marks where the encoding needs it, in colour on a terminal only."""

from __future__ import annotations

import io
import sys

import pytest

from sli.command.output import encodable, print_lines, red


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437"])
def test_an_encoding_without_the_marks_gets_ascii_as_wide(encoding: str) -> None:
    line = "Zürich 0.4┤░█×o│ ▁▅█ …"
    found = encodable(line, encoding)
    assert found.encode(encoding)
    assert found.endswith("rich 0.4+:#xo| _=# ~")
    if encoding != "ascii":
        assert found.startswith("Zürich")
        assert len(found) == len(line)


def test_utf_8_keeps_every_mark_and_what_cannot_be_printed_is_escaped() -> None:
    assert encodable("░█×│┤└─┬▁▂▃▄▅▆▇…", "utf-8") == "░█×│┤└─┬▁▂▃▄▅▆▇…"
    assert encodable("羽田", "ascii") == "\\u7fbd\\u7530"


def test_lines_reach_a_terminal_of_another_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stream)
    print_lines(["┤█ 羽"])
    stream.flush()
    assert stream.buffer.getvalue() == b"+# \\u7fbd\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_red_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert red("a breached b", "breached") == ("a \x1b[31mbreached\x1b[0m b" if coloured else "a breached b")
