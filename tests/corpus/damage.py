"""Cases of bytes: files that were cut, changed by bits, or whose footers and page headers do not say the truth."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from corpus import cases
from corpus.cases import CASES, Aside, Make, Outcome, Read, as_bytes
from corpus.thrift import (
    BINARY,
    INT,
    LIST,
    LONG,
    STRUCT,
    Items,
    Struct,
    chunk,
    footer_start,
    unsigned,
    with_footer,
    with_page,
)


def case(name: str, make: Make, outcome: Outcome) -> None:
    """Add a case for one of the logs in turn: bytes do not know of which log they are."""
    in_predictions = len(CASES) % 2 == 0
    cases.case(name, make, outcome if in_predictions else None, None if in_predictions else outcome)


# Cut


def _cut(size: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    return lambda whole: whole[: size(whole)]


for _bytes in (1, 3, 4, 7, 8, 11, 12):
    case(f"cut to {_bytes}", as_bytes(_cut(lambda _, size=_bytes: size)), Aside("unreadable", ""))
for _bytes in (1, 2, 4, 5, 7, 8, 9, 20):
    case(
        f"without the last {_bytes}",
        as_bytes(_cut(lambda whole, size=_bytes: len(whole) - size)),
        Aside("unreadable", ""),
    )
for _tenth in range(1, 10):
    case(
        f"cut after {_tenth} tenths",
        as_bytes(_cut(lambda whole, t=_tenth: len(whole) * t // 10)),
        Aside("unreadable", ""),
    )
case("cut before its footer", as_bytes(_cut(footer_start)), Aside("unreadable", ""))
case("empty", as_bytes(lambda _: b""), Aside("unreadable", "0 bytes"))
case("without its first byte", as_bytes(lambda whole: whole[1:]), Aside("damaged", "", 6))
case("one byte more at the end", as_bytes(lambda whole: whole + b"\n"), Aside("unreadable", ""))
case("zeros at the end", as_bytes(lambda whole: whole + bytes(4096)), Aside("unreadable", ""))
case("only zeros", as_bytes(lambda whole: bytes(len(whole))), Aside("unreadable", ""))
case("its bytes twice", as_bytes(lambda whole: whole + whole), Read())
case("its middle gone", as_bytes(lambda whole: whole[:60] + whole[160:]), Aside("damaged", "", 6))

# Another magic, another length of the footer

for _magic in (b"PARE", b"PAR2", b"par1", b"ORC\0", b"\0\0\0\0"):
    case(f"ends as {_magic!r}", as_bytes(lambda whole, m=_magic: whole[:-4] + m), Aside("unreadable", ""))
case("begins as nothing", as_bytes(lambda whole: b"\0\0\0\0" + whole[4:]), Read())
for _length in (0, 1, 8, 1 << 20, (1 << 31) - 1, (1 << 32) - 1):
    case(
        f"a footer of {_length} bytes",
        as_bytes(lambda whole, n=_length: whole[:-8] + n.to_bytes(4, "little") + whole[-4:]),
        Aside("unreadable", ""),
    )

# Bits, where pages have checksums


def _in_page(column: int, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A change of the last bytes of the pages of a column."""

    def changed(whole: bytes) -> bytes:
        found: list[int] = []
        with_footer(whole, lambda footer: found.extend(_pages(footer, column)))
        _, end = found
        return whole[: end - 8] + change(whole[end - 8 : end]) + whole[end:]

    return changed


def _pages(footer: Struct, column: int) -> tuple[int, int]:
    of_column = chunk(footer, column)
    start = min(of_column[offset] for offset in (9, 11) if offset in of_column.fields)
    return start, start + of_column[7]


CHANGES = {
    "a bit": lambda page: page[:3] + bytes([page[3] ^ 16]) + page[4:],
    "the last bit": lambda page: page[:-1] + bytes([page[-1] ^ 1]),
    "its bytes": lambda page: bytes(reversed(page)),
}
for _what, _change in CHANGES.items():
    for _place, _name in enumerate(("id", "at", "value")):
        for _coding, _options in {
            "plain": {"use_dictionary": False},
            "dictionary": {},
            "zstd": {"compression": "zstd"},
        }.items():
            case(
                f"{_what} of {_name} changed, {_coding}",
                as_bytes(_in_page(_place, _change), write_page_checksum=True, **_options),
                Aside("damaged", f"of column '{_name}' does not match its bytes", 6),
            )

# Footers that lie


def _footer(name: str, change: Callable[[Struct], object], outcome: Outcome) -> None:
    case(f"lie: {name}", as_bytes(lambda whole: with_footer(whole, change), use_dictionary=False), outcome)


def _set(place: Callable[[Struct], Struct], number: int, value: object) -> Callable[[Struct], None]:
    def change(footer: Struct) -> None:
        place(footer)[number] = value

    return change


def _whole(footer: Struct) -> Struct:
    return footer


def _group(footer: Struct) -> Struct:
    found: Struct = footer[4][0]
    return found


VALUE, TIME, ID = (partial(chunk, column=place) for place in (2, 1, 0))
for _count in (0, 5, 7, 1 << 40, -1):
    _footer(f"{_count} rows in the file", _set(_whole, 3, _count), Aside("damaged", "its footer says that it has"))
    _footer(f"{_count} rows in the group", _set(_group, 3, _count), Aside("damaged", "its footer says that it has"))
    for _place, _name in ((ID, "id"), (TIME, "at"), (VALUE, "value")):
        _values = Aside("damaged", f"of '{_name}' in group 0 cannot be: {_count:,} values for 6 rows", 6)
        _footer(f"{_count} values of {_name}", _set(_place, 5, _count), _values)
OUTSIDE = Aside("damaged", "of 'value' in group 0 cannot be: its bytes lie outside of the file", 6)
for _offset in (-1, 1 << 40, -(1 << 62)):
    _footer(f"pages at {_offset}", _set(VALUE, 9, _offset), OUTSIDE)
    _footer(f"a dictionary at {_offset}", _set(VALUE, 11, _offset), OUTSIDE)
_footer("pages at the start", _set(VALUE, 9, 0), Aside("damaged", "", 6))
_footer(
    "pages at those of the ids",
    lambda footer: VALUE(footer).__setitem__(9, ID(footer)[9]),
    Aside("damaged", "in the same place", 6),
)
_footer("a dictionary at the start", _set(VALUE, 11, 0), Read())
for _size in (-1, 1 << 50):
    _footer(f"{_size} bytes compressed", _set(VALUE, 7, _size), OUTSIDE)
# What no reader needs to read the pages is not looked at.
for _size in (0, 1):
    _footer(f"{_size} bytes compressed", _set(VALUE, 7, _size), Read())
for _size in (0, -1, 1 << 50):
    _footer(f"{_size} bytes uncompressed", _set(VALUE, 6, _size), Read())
for _codec in (1, 2, 4, 6, 99):
    _footer(f"codec {_codec}", _set(VALUE, 4, _codec), Aside("damaged", "", 6))
OTHER = Aside("damaged", "of 'value' in group 0 cannot be: its schema has another column there", 6)
for _type in (0, 1, 2, 4, 6, 7, 99):
    _footer(f"type {_type} of its pages", _set(VALUE, 1, _type), OTHER if _type < 99 else Aside("damaged", "", 6))
SCHEMA = {
    6: Aside("wrong type", "column 'value' is binary", 6),
    7: Aside("unreadable", "length: 0"),
    99: Aside("unreadable", "UNKNOWN"),
}
for _type in (0, 1, 2, 4, 6, 7, 99):
    _footer(
        f"type {_type} in its schema",
        lambda footer, kind=_type: footer[2][3].__setitem__(1, kind),
        SCHEMA.get(_type, OTHER),
    )
for _children in (0, 2, 4, 1 << 30, -1):
    _footer(
        f"{_children} columns",
        lambda footer, n=_children: footer[2][0].__setitem__(5, n),
        Aside("unreadable", "schema"),
    )
_footer("version 99", _set(_whole, 1, 99), Read())
_footer("written by nobody", _set(_whole, 6, b"\xff\xfe"), Read())
_footer("no group", lambda footer: footer[4].items.clear(), Aside("damaged", "6 rows, and 0 in all"))
NONSENSE = Aside("unreadable", "the footer makes no sense")
_footer("a group without columns", lambda footer: footer[4][0][1].items.clear(), NONSENSE)
_footer("a column less in its group", lambda footer: footer[4][0][1].items.pop(), NONSENSE)
_footer("a column more in its group", lambda footer: footer[4][0][1].items.append(footer[4][0][1][0]), NONSENSE)
_footer(
    "the group twice", lambda footer: footer[4].items.append(footer[4][0]), Aside("damaged", "6 rows, and 12 in all")
)
_footer("columns of each other", lambda footer: footer[4][0][1].items.reverse(), Aside("damaged", "another column", 6))
_footer("its name is not UTF-8", lambda footer: footer[2][3].__setitem__(4, b"val\xffue"), Aside("unreadable", "utf-8"))
_footer("its name has a NUL", lambda footer: footer[2][3].__setitem__(4, b"value\0"), Aside("missing column", "", 6))
_footer(
    "names of the same",
    lambda footer: footer[2][3].__setitem__(4, b"id"),
    Aside("ambiguous column", "'id' is one of id, id", 6),
)

# Statistics that are not of their column: of the first two pyarrow ends the process.

STATISTICS = Aside("damaged", "of 'at' in group 0 cannot be: its statistics are of another type", 6)
SIZES = Aside("damaged", "of 'at' in group 0 cannot be: its statistics of sizes are of another type", 6)
_footer(
    "least times of three bytes",
    lambda footer: TIME(footer)[12].fields.update({5: (BINARY, b"abc"), 6: (BINARY, b"abc")}),
    STATISTICS,
)
_footer("bytes of texts in times", lambda footer: TIME(footer).__setitem__(16, ID(footer)[16]), SIZES)
_footer(
    "levels that times do not have",
    lambda footer: TIME(footer)[16].fields.update({3: (LIST, Items(LONG, [1] * 9))}),
    SIZES,
)
_footer("no least time", lambda footer: TIME(footer)[12].fields.clear(), Read())
_footer("no statistics", lambda footer: TIME(footer).__delitem__(12), Read())
_footer("no sizes", lambda footer: TIME(footer).__delitem__(16), Read())
_footer(
    "nothing of times", lambda footer: footer[4][0][1][1].__delitem__(3), Aside("damaged", "says nothing of 'at'", 6)
)
_footer("no place of times", lambda footer: TIME(footer).__delitem__(9), Aside("unreadable", ""))
_footer(
    "an index that is not there",
    lambda footer: footer[4][0][1][1].fields.update({4: (LONG, 1 << 40), 5: (INT, 99)}),
    Read(),
)
_footer(
    "a bloom filter that is not there",
    lambda footer: ID(footer).fields.update({14: (LONG, 1 << 40), 15: (INT, 99)}),
    Read(),
)
_footer(
    "encrypted, but no key",
    lambda footer: footer[4][0][1][1].fields.update({8: (STRUCT, Struct({1: (STRUCT, Struct({}))}))}),
    Aside("unreadable", "column 'at' is encrypted", 6),
)

# Headers of pages that lie

PAGE = {1: "its type", 2: "its size", 3: "its compressed size"}
for _number, _what in PAGE.items():
    for _size in (-1, 7, 1 << 20, (1 << 31) - 1):
        case(
            f"page: {_what} is {_size}",
            as_bytes(
                lambda whole, n=_number, size=_size: with_page(whole, 2, lambda page: page.__setitem__(n, size)),
                use_dictionary=False,
            ),
            Aside("damaged", "", 6),
        )
        case(
            f"page: {_what} is {_size}, snappy",
            as_bytes(
                lambda whole, n=_number, size=_size: with_page(whole, 2, lambda page: page.__setitem__(n, size)),
                compression="snappy",
            ),
            Aside("damaged", "", 6),
        )
for _count in (0, 5):
    case(
        f"page: {_count} values",
        as_bytes(
            lambda whole, n=_count: with_page(whole, 2, lambda page: page[5].__setitem__(1, n)), use_dictionary=False
        ),
        Aside("damaged", "", 6),
    )
for _encoding in (2, 3, 5, 6, 7, 99):
    case(
        f"page: encoding {_encoding}",
        as_bytes(
            lambda whole, n=_encoding: with_page(whole, 2, lambda page: page[5].__setitem__(2, n)), use_dictionary=False
        ),
        Aside("damaged", "", 6),
    )


def _deep(whole: bytes) -> bytes:
    """A footer of structs in structs without end."""
    footer = b"\x1c" * 100_000
    return whole[: footer_start(whole)] + footer + len(footer).to_bytes(4, "little") + whole[-4:]


def _long_list(whole: bytes) -> bytes:
    """A footer that names a schema of four thousand million columns."""
    footer = b"\x15\x02\x19\xfc" + unsigned((1 << 32) - 1)
    return whole[: footer_start(whole)] + footer + len(footer).to_bytes(4, "little") + whole[-4:]


case("a footer of structs without end", as_bytes(_deep), Aside("unreadable", ""))
case("a footer of columns without end", as_bytes(_long_list), Aside("unreadable", ""))
