"""Decodes Thrift's compact protocol, in which Parquet writes its footers and the headers of its pages.

Source: the Thrift compact protocol specification. Limit: maps are refused, since Parquet has none.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

STOP, YES, NO, BYTE, SHORT, INT, LONG, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)
"""Kinds of values."""
MAX_DEPTH = 16
"""How deep structs and lists may be nested; Parquet nests them less deep."""
Value: TypeAlias = Any
"""A bool, int, float, bytes, list of values or struct, as the bytes say."""
Struct = dict[int, Value]
"""Values by the number of their field."""


def decode_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[Struct, int]:
    """The struct that begins at `at`, its values by the number of their field, and where it ends.

    Raises ValueError for bytes that are not a struct, IndexError or struct.error for bytes that end too early.
    """
    if depth > MAX_DEPTH:
        raise ValueError("structs in structs without end")
    fields: Struct = {}
    number = 0
    while data[at] != STOP:
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if step:
            number += step
        else:
            number, at = _signed(data, at)
        if kind in (YES, NO):
            fields[number] = kind == YES
        else:
            fields[number], at = _value(data, at, kind, depth + 1)
    return fields, at + 1


def skip(data: bytes, at: int, kind: int, depth: int = 0) -> int:
    """Where a value ends that begins at `at`. It takes a fifth of the time of reading it. Raises as `decode_struct`."""
    if kind in (SHORT, INT, LONG):
        while data[at] & 128:
            at += 1
        return at + 1
    if kind == BINARY:
        size, at = _unsigned(data, at)
        return at + size
    if kind == STRUCT:
        if depth > MAX_DEPTH:
            raise ValueError("structs in structs without end")
        while (head := data[at]) != STOP:
            at += 1
            kind = head & 15
            if head < 16:
                _, at = _signed(data, at)
            if kind not in (YES, NO):
                at = skip(data, at, kind, depth + 1)
        return at + 1
    if kind in (LIST, SET):
        if depth > MAX_DEPTH:
            raise ValueError("lists in lists without end")
        size, kind, at = list_head(data, at)
        for _ in range(size):
            at = skip(data, at, kind, depth + 1)
        return at
    return _value(data, at, kind, depth)[1]


def find_field(data: bytes, at: int, number: int) -> int:
    """Where the value of a field of a struct begins; -1 if there is no such field. Raises as `decode_struct`."""
    found = 0
    while (head := data[at]) != STOP:
        at += 1
        if head >> 4:
            found += head >> 4
        else:
            found, at = _signed(data, at)
        if found == number:
            return at
        if head & 15 not in (YES, NO):
            at = skip(data, at, head & 15)
    return -1


def list_head(data: bytes, at: int) -> tuple[int, int, int]:
    """How many items a list has, of which kind, and where the first one begins."""
    size, kind = data[at] >> 4, data[at] & 15
    at += 1
    if size == 15:
        size, at = _unsigned(data, at)
    return size, kind, at


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Value, int]:
    if kind in (SHORT, INT, LONG):
        return _signed(data, at)
    if kind in (YES, NO, BYTE):
        return data[at], at + 1
    if kind == DOUBLE:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == BINARY:
        size, at = _unsigned(data, at)
        return data[at : at + size], at + size
    if kind in (LIST, SET):
        return _list(data, at, depth)
    if kind == STRUCT:
        return decode_struct(data, at, depth)
    raise ValueError(f"no value of kind {kind} is in Parquet")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Value], int]:
    if depth > MAX_DEPTH:
        raise ValueError("lists in lists without end")
    size, kind, at = list_head(data, at)
    values: list[Value] = []
    for _ in range(size):
        value, at = _value(data, at, kind, depth + 1)
        values.append(value)
    return values, at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 128:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
    return value | data[at] << shift, at + 1


def _signed(data: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(data, at)
    return value >> 1 ^ -(value & 1), at
