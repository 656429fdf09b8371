"""Whether a slice that is asked for exists, and which values its columns have.

Limit: of all time; a slice that exists may have no predictions in the time asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow.compute as pc
import pyarrow.dataset as ds

from sli.errors import ConfigError, nearest
from sli.reading.publication import Publication
from sli.slices import OTHER, parse_slice, slice_by_of, slice_text

SHOWN = 10
"""Values of a column that are named."""


def check_slice(publication: Publication, slice: Mapping[str, str | None]) -> None:
    """Raise ConfigError if no prediction of any time is in this slice: with the values that there are."""
    by = slice_by_of(slice)
    texts = publication.rows("days", {"slice"}, ds.field("slice_by") == ",".join(by)).column("slice")
    # pyarrow's stubs do not know that this column has no nulls.
    known = [parse_slice(str(text)) for text in pc.unique(texts).to_pylist()]
    asked = parse_slice(slice_text(slice))
    if asked in known or OTHER in asked.values():
        return
    expected, near = [], ""
    for column, value in asked.items():
        values = sorted({_shown(one[column]) for one in known})
        if _shown(value) not in values:
            more = f" and {len(values) - SHOWN:,} more" if len(values) > SHOWN else ""
            expected.append(f"{column}: one of {', '.join(values[:SHOWN])}{more}")
            near = near or nearest(_shown(value), values)
    found = ", ".join(f"{column}={_shown(value)}" for column, value in asked.items())
    raise ConfigError(
        f"there is no slice {found}",
        where="slice",
        expected="; ".join(expected) or "values that occur together",
        todo=near or f"`--by {','.join(by)}` lists the slices",
    )


def _shown(value: str | None) -> str:
    return "null" if value is None else value
