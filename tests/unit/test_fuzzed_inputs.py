"""Inputs that a fuzzer once found a fault with, and its seeds: each is answered, or refused by a message."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from corpus.cases import raw, rows
from corpus.targets import FOUND, TARGETS, answered, seeds
from corpus.thrift import footer_start

from sli.engine.thrift import STRUCT, decode_struct, skip

INPUTS = sorted(FOUND.glob("*/*"))


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_input_that_was_found_is_answered(path: Path) -> None:
    answered(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_whole_inputs_are_answered_also_with_any_byte_changed(target: str) -> None:
    """A few of the bytes each time: the fuzzer tries all of them."""
    random = np.random.default_rng(19)
    for seed in seeds(target):
        answered(target, seed)
        for _ in range(25):
            changed = bytearray(seed)
            changed[random.integers(len(seed))] = random.integers(256)
            answered(target, bytes(changed))


def test_what_is_skipped_ends_where_what_is_read_does() -> None:
    good = raw(rows("predictions", "x"))
    footer = good[footer_start(good) : -8]
    assert skip(footer, 0, STRUCT) == decode_struct(footer)[1] == len(footer)
    random, told = np.random.default_rng(7), 0
    for _ in range(3000):
        changed = bytearray(footer)
        changed[random.integers(len(footer))] = random.integers(256)
        try:
            _, end = decode_struct(bytes(changed))
        except (IndexError, ValueError, struct.error):
            continue
        told += 1
        assert skip(bytes(changed), 0, STRUCT) == end
    assert told > 1000
