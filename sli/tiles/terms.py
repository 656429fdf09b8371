"""SQL of what each pair adds to the states of an SLI: one row a pair, the columns that `slis.terms` reads.

Limit: the kinds of state that `slis.terms` knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sli.engine.sql import quoted, text_of
from sli.slis import State
from sli.slis.custom.function import UserFunction


def terms_sql(states: Iterable[State], functions: Mapping[str, UserFunction]) -> dict[str, str]:
    """SQL of each column by its name, over the columns of view `pairs`, or of `queries_sql` for states of queries."""
    columns: dict[str, str] = {}
    for state in states:
        columns |= _term(state, functions)
    return columns


def _term(state: State, functions: Mapping[str, UserFunction]) -> dict[str, str]:
    name, of = state.id, f"({state.of})"
    match state.kind:
        case "count":
            return {name: f"coalesce(({state.where})::INTEGER, 0)"}
        case "sum":
            return {name: _where(state, f"{of}::DOUBLE")}
        case "histogram":
            mark = {f"{name}:mark": f"({state.mark})::INTEGER"} if state.mark else {}
            return {name: _where(state, f"{of}::DOUBLE + 0.0::DOUBLE"), **mark}
        case "groups":
            amount = {f"{name}:amount": _where(state, f"({state.amount})::DOUBLE")} if state.amount else {}
            return {name: _where(state, f"{of}::VARCHAR"), **amount}
        case "window":
            prediction = "value" if state.of == "prediction" else state.of
            arguments = {
                f"{name}:label": _where(state, "truth::DOUBLE"),
                f"{name}:prediction": f"{prediction}::DOUBLE",
            }
            for column in state.columns:
                text = text_of(quoted(column))
                texts = functions[state.call].needs_texts(column)
                arguments[f"{name}:{column}"] = text if texts else f"({text})::DOUBLE"
            return arguments
        case "sample":
            return {}
    raise ValueError(f"no term of the kind {state.kind}")


def _where(state: State, value: str) -> str:
    return f"CASE WHEN {state.where} THEN {value} END"
