"""Bins of slice columns: ascending edges, written in the config or taken from quantiles of a reference table.

Limit: a reference table is one Parquet file, and its column must be numeric.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite

from sli.config.extends import located
from sli.config.sections import Quantiles
from sli.engine.sql import quoted
from sli.engine.storage import Storage, filesystem
from sli.errors import ConfigError, check_known

Bins = Mapping[str, tuple[float, ...] | Quantiles]


def check_bins(bins: Bins, sliced: Collection[str]) -> None:
    """Raise ConfigError if a column with bins is not in `slice_by`, or edges do not ascend."""
    for name, bin_edges in bins.items():
        where = f"bins.{name}"
        check_known(
            f"'{name}' has bins, but `slice_by` does not list it",
            name,
            sorted(sliced),
            where=where,
            nothing="a column of `slice_by`",
            todo=f"list it, for example `slice_by: [[], [{name}]]`",
        )
        if isinstance(bin_edges, Quantiles):
            continue
        if not bin_edges or list(bin_edges) != sorted(set(bin_edges)) or not all(map(isfinite, bin_edges)):
            raise ConfigError(
                "edges must ascend", where=where, expected="for example [10, 20, 50]", found=str(list(bin_edges))
            )
        if len({f"{edge:g}" for edge in bin_edges}) != len(bin_edges):
            raise ConfigError(
                "edges are too close",
                where=where,
                expected="edges that differ in six digits",
                found=str(list(bin_edges)),
            )


def edges_of(bins: Bins, folder: str, storage: Storage) -> dict[str, tuple[float, ...]]:
    """Ascending edges by column; quantiles are read from their table. Raises ConfigError."""
    return {
        name: _quantile_edges(name, bin_edges, folder, storage) if isinstance(bin_edges, Quantiles) else bin_edges
        for name, bin_edges in bins.items()
    }


def _quantile_edges(name: str, wanted: Quantiles, folder: str, storage: Storage) -> tuple[float, ...]:
    """The different inner quantiles of a column of a reference table. Raises ConfigError."""
    import duckdb
    import pyarrow.parquet as pq

    fs, place = filesystem(located(wanted.table, folder), storage)
    try:
        with fs.open(place, "rb") as file:
            rows = pq.read_table(file, columns=[name], partitioning=None)  # noqa: F841 - DuckDB finds it by name
        shares = [i / wanted.quantiles for i in range(1, wanted.quantiles)]
        sql = f"SELECT quantile_disc({quoted(name)}::DOUBLE, {shares}::DOUBLE[]) FROM rows"
        quantiles = duckdb.connect().execute(sql).fetchall()[0][0]
    except Exception as error:
        raise ConfigError(
            "the table for the edges of the bins cannot be read",
            where=f"bins.{name}",
            expected=f"a Parquet file with a numeric column '{name}'",
            found=f"{place}: {str(error).splitlines()[0]}",
            todo="check its path and columns",
        ) from error
    if not quantiles:
        raise ConfigError(
            "the table for the edges of the bins has no values",
            where=f"bins.{name}",
            expected=f"numbers in '{name}'",
            found=place,
        )
    return tuple(sorted({float(f"{edge:.6g}") for edge in quantiles}))
