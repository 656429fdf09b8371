"""How the command prints: lines and JSON on stdout, warnings on stderr, all without secrets.

Where the encoding of stdout lacks a mark that charts and tables are drawn with, all marks become ASCII, each as wide.
Limit: colour marks what is breached and nothing else, and only on a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from sli.errors import ConfigError
from sli.masking import masked, masked_tree

MARKS = str.maketrans("░█×│┤└─┬▁▂▃▄▅▆▇…", ":#x|++-+_.,-=+*~")
"""Marks, and the ASCII that stands for them."""
RED, PLAIN = "\x1b[31m", "\x1b[0m"


def print_lines(lines: Sequence[str]) -> None:
    """Print text on stdout."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for line in lines:
        print(encodable(masked(line), encoding))


def encodable(line: str, encoding: str) -> str:
    """The line in ASCII marks if the encoding lacks any mark; other characters that it lacks are escaped."""
    try:
        "".join(map(chr, MARKS)).encode(encoding)
    except UnicodeEncodeError:
        line = line.translate(MARKS)
    return line.encode(encoding, "backslashreplace").decode(encoding)


def red(line: str, text: str) -> str:
    """The line with the text in red wherever it occurs; as it is without a terminal, or if colours are unwanted."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return line if unwanted or not sys.stdout.isatty() else line.replace(text, f"{RED}{text}{PLAIN}")


def check_format(format: str) -> None:
    """Raise ConfigError if rows of a format cannot go where the output goes."""
    if format == "parquet" and sys.stdout.isatty():
        raise ConfigError(
            "a terminal cannot show Parquet, which is not text",
            where="--format",
            todo="send it to a file or another command, for example `> rows.parquet`",
        )


def print_json(plain: object) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(masked_tree(plain), default=list))


def print_warnings(warnings: Sequence[str], of: str = "") -> None:
    """Print messages on stderr; `of` says which of several models they are about."""
    for line in warnings:
        print(f"sli: {of}{masked(line)}", file=sys.stderr)
