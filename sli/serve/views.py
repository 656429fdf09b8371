"""What a query string asks for: a slice, windows, and the time of which one wants to know what was believed.

Limit: names and texts only; whether they exist is checked where they are looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sli.config.model import Config
from sli.errors import ConfigError, check_known, nearest
from sli.reading.figures import slice_name
from sli.report.choice import Slice

LONGEST = 500
"""Characters of a value; a longer one is taken for a mistake."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A question to the server. `size` and `every` are those of `query`; without them the windows are a grain's."""

    slice: str | None = None
    by: tuple[str, ...] | None = None
    grain: str | None = None
    size: str | None = None
    every: str | None = None
    start: str | None = None
    end: str | None = None
    as_of: str | None = None
    sli: str | None = None
    against: str | None = None


def view_of(params: Mapping[str, str]) -> View:
    """The view of a query string; other keys are the page's own. Raises ConfigError."""
    values = {name: params[name].strip() for name in View.__dataclass_fields__ if params.get(name, "").strip()}
    for name, value in values.items():
        if len(value) > LONGEST:
            raise ConfigError(f"{name} is too long", where=name, expected=f"at most {LONGEST} characters")
    by = params.get("by")
    columns = None if by is None else tuple(column for column in by.split(",") if column)
    return View(**{**values, "by": columns})  # type: ignore[arg-type]  # the other values are texts


def slice_in(view: View, slices: Sequence[Slice]) -> int:
    """The position of the slice that a view names among all; the first without a name. Raises ConfigError."""
    if view.slice is None and not view.by:
        return 0
    names = [slice_name(dict(one.values)) for one in slices]
    for at, one in enumerate(slices):
        if names[at] == view.slice and view.by in (None, tuple(one.values)):
            return at
    columns = [f"by={','.join(one.values)}" for at, one in enumerate(slices) if names[at] == view.slice]
    if columns and view.by is not None:
        raise ConfigError(
            f"there is no slice '{view.slice}' by these columns",
            where="by",
            expected=" or ".join(columns),
            found=f"by={','.join(view.by)}",
        )
    raise ConfigError(
        "there is no such slice",
        where="slice",
        found=f"{view.slice} by {', '.join(view.by or ())}".removesuffix(" by "),
        todo=nearest(view.slice or "", names) or "open the page: it lists all slices",
    )


def sli_in(config: Config, view: View) -> str:
    """The SLI that a view names; the first without a name. Raises ConfigError."""
    names = [sli.name for sli in config.declared]
    name = view.sli or names[0]
    check_known(f"there is no SLI '{name}'", name, names, where="sli")
    return name
