"""Footers and page headers of Parquet files, taken apart and put together again with what a test changes in them.

Limit: only what Thrift's compact protocol needs for Parquet; sli's own decoder is `sli/engine/thrift.py`, which cannot
write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

YES, NO, BYTE, SHORT, INT, LONG, DOUBLE, BINARY, LIST, SET, _, STRUCT = range(1, 13)


@dataclass
class Struct:
    """The fields of a struct: its kind and value by number, in the order of the file."""

    fields: dict[int, tuple[int, Any]]

    def __getitem__(self, number: int) -> Any:
        return self.fields[number][1]

    def __setitem__(self, number: int, value: Any) -> None:
        kind = self.fields[number][0] if number in self.fields else _kind_of(value)
        self.fields = dict(sorted({**self.fields, number: (kind, value)}.items()))

    def __delitem__(self, number: int) -> None:
        del self.fields[number]


@dataclass
class Items:
    """A list: the kind of its items, and the items."""

    kind: int
    items: list[Any]

    def __getitem__(self, place: int) -> Any:
        return self.items[place]


def _kind_of(value: Any) -> int:
    return BINARY if isinstance(value, bytes) else STRUCT if isinstance(value, Struct) else LONG


def unsigned(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _signed(value: int) -> bytes:
    return unsigned((value << 1 ^ value >> 63) & (1 << 64) - 1)


def encode(struct: Struct) -> bytes:
    """The bytes of a struct."""
    out, before = bytearray(), 0
    for number, (kind, value) in struct.fields.items():
        kind = (YES if value else NO) if kind in (YES, NO) else kind
        out += bytes([number - before << 4 | kind]) if 0 < number - before < 16 else bytes([kind]) + _signed(number)
        out += b"" if kind in (YES, NO) else _encode(kind, value)
        before = number
    return bytes(out) + b"\0"


def _encode(kind: int, value: Any) -> bytes:
    if kind in (SHORT, INT, LONG):
        return _signed(value)
    if kind in (YES, NO, BYTE):
        return bytes([value])
    if kind == DOUBLE:
        return bytes(value)
    if kind == BINARY:
        return unsigned(len(value)) + value
    if kind == STRUCT:
        return encode(value)
    size = len(value.items)
    head = bytes([size << 4 | value.kind]) if size < 15 else bytes([0xF0 | value.kind]) + unsigned(size)
    return head + b"".join(_encode(value.kind, item) for item in value.items)


class _Reader:
    def __init__(self, raw: bytes, at: int = 0) -> None:
        self.raw, self.at = raw, at

    def take(self, size: int) -> bytes:
        self.at += size
        return self.raw[self.at - size : self.at]

    def unsigned(self) -> int:
        value = shift = 0
        while (byte := self.take(1)[0]) & 128:
            value, shift = value | (byte & 127) << shift, shift + 7
        return value | byte << shift

    def signed(self) -> int:
        value = self.unsigned()
        return value >> 1 ^ -(value & 1)

    def struct(self) -> Struct:
        fields, number = dict[int, tuple[int, Any]](), 0
        while head := self.take(1)[0]:
            number = number + (head >> 4) if head >> 4 else self.signed()
            kind = head & 15
            fields[number] = (kind, kind == YES if kind in (YES, NO) else self.value(kind))
        return Struct(fields)

    def value(self, kind: int) -> Any:
        if kind in (SHORT, INT, LONG):
            return self.signed()
        if kind in (YES, NO, BYTE):
            return self.take(1)[0]
        if kind == DOUBLE:
            return self.take(8)
        if kind == BINARY:
            return self.take(self.unsigned())
        if kind == STRUCT:
            return self.struct()
        head = self.take(1)[0]
        size = self.unsigned() if head >> 4 == 15 else head >> 4
        return Items(head & 15, [self.value(head & 15) for _ in range(size)])


def footer_start(raw: bytes) -> int:
    """Where the footer of a file begins."""
    return len(raw) - 8 - int.from_bytes(raw[-8:-4], "little")


def with_footer(raw: bytes, change: Callable[[Struct], object]) -> bytes:
    """The file with its footer changed: fields by number, as Parquet's `FileMetaData` has them."""
    start = footer_start(raw)
    footer = _Reader(raw, start).struct()
    change(footer)
    new = encode(footer)
    return raw[:start] + new + len(new).to_bytes(4, "little") + raw[-4:]


def chunk(footer: Struct, column: int, group: int = 0) -> Struct:
    """The `ColumnMetaData` of a column in a group of rows."""
    found: Struct = footer[4][group][1][column][3]
    return found


def with_page(raw: bytes, column: int, change: Callable[[Struct], object]) -> bytes:
    """The file with the header of the first page of a column changed: fields as `PageHeader` has them.

    Pages behind it move by what the header grows; their offsets are mended.
    """
    footer = _Reader(raw, footer_start(raw)).struct()
    found = chunk(footer, column)
    at = min(found[9], found[11]) if 11 in found.fields else found[9]
    reader = _Reader(raw, at)
    header = reader.struct()
    change(header)
    new = encode(header)
    moved = len(new) - (reader.at - at)

    def mend(footer: Struct) -> None:
        for place in range(len(footer[4][0][1].items)):
            column = chunk(footer, place)
            if at in (column[offset] for offset in (9, 11) if offset in column.fields):
                column[7] += moved
            for offset in (9, 11):
                if offset in column.fields and column[offset] > at:
                    column[offset] += moved

    return with_footer(raw[:at] + new + raw[reader.at :], mend)
