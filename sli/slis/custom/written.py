"""A user's function as its file tells it, without running the file: its source, its parameters, its states.

So a plan knows what a series rests on and imports nothing. Limit: a function of a module beside the config that is
written there once and plainly, or under `@mergeable` with states of constants. Any other is imported to be known.
"""

from __future__ import annotations

import ast
import inspect
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sli.slis.custom.loaded import is_installed, is_within
from sli.slis.custom.trust import is_code_allowed
from sli.slis.states import State

KINDS = inspect.Parameter
MODULE = "sli.mergeable"


@dataclass(frozen=True)
class Written:
    """`source` is what `inspect.getsource` would give; `states` are those of a mergeable function."""

    source: str
    parameters: tuple[inspect.Parameter, ...]
    states: Mapping[str, State] | None = None


def written(call: str, folder: Path, makers: Mapping[str, Callable[..., State]]) -> Written | None:
    """What the file of `module:name` tells of it, or None where only importing it would. `makers` make states."""
    module, _, name = call.partition(":") if ":" in call else call.rpartition(".")
    path = _file(module, folder)
    if path is None or "." in name:
        return None
    try:
        with tokenize.open(path) as opened:
            lines = opened.read().splitlines(keepends=True)
        tree = ast.parse("".join(lines))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None  # importing it tells what is wrong
    bound = [node for node in ast.walk(tree) if {name, "*"} & set(_binds(node))]
    node = bound[0] if len(bound) == 1 else None
    if not isinstance(node, ast.FunctionDef) or node not in tree.body:
        return None
    states = None
    if node.decorator_list:
        states = _states(node, _imported(tree), makers)
        if states is None:
            return None
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return Written("".join(inspect.getblock(lines[first - 1 :])), tuple(_parameters(node.args)), states)


def _file(module: str, folder: Path) -> Path | None:
    """The file of a module beside the config, unless Python's own or what is loaded from there comes before."""
    top, beside = module.partition(".")[0], folder.resolve()
    own, loaded = sys.modules.get(top), sys.modules.get(module)
    if top in sys.builtin_module_names or (own is not None and is_installed(own)):
        return None
    if loaded is not None and is_within(loaded, beside) and is_code_allowed():
        # The file may be another by now, and the function of the one that is loaded would run.
        return None
    path = beside.joinpath(*module.split("."))
    # A package comes before a module of its name.
    found = [each for each in (path / "__init__.py", path.with_suffix(".py")) if each.is_file()]
    return found[0] if found and module and all(part.isidentifier() for part in module.split(".")) else None


def _binds(node: ast.AST) -> Iterator[str]:
    """Names that a node may give a meaning, anywhere in the file: inside a function it may say `global`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((each.asname or each.name).partition(".")[0] for each in node.names)


def _parameters(given: ast.arguments) -> Iterator[inspect.Parameter]:
    by_place = [*given.posonlyargs, *given.args]
    needed = len(by_place) - len(given.defaults)
    for i, each in enumerate(by_place):
        kind = KINDS.POSITIONAL_ONLY if i < len(given.posonlyargs) else KINDS.POSITIONAL_OR_KEYWORD
        yield KINDS(each.arg, kind, default=KINDS.empty if i < needed else ...)
    if given.vararg:
        yield KINDS(given.vararg.arg, KINDS.VAR_POSITIONAL)
    for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield KINDS(each.arg, KINDS.KEYWORD_ONLY, default=KINDS.empty if default is None else ...)
    if given.kwarg:
        yield KINDS(given.kwarg.arg, KINDS.VAR_KEYWORD)


def _imported(tree: ast.Module) -> dict[str, str]:
    """What the file calls things of `sli.mergeable`, by its own names."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == MODULE:
            found |= {each.asname or each.name: each.name for each in node.names}
    bound = [name for node in ast.walk(tree) for name in _binds(node)]
    return {name: meant for name, meant in found.items() if bound.count(name) == 1}


def _states(
    node: ast.FunctionDef, names: Mapping[str, str], makers: Mapping[str, Callable[..., State]]
) -> dict[str, State] | None:
    """The states of `@mergeable(name=total("..."), ...)`, where all they are made of is constants."""
    [decorator, *more] = node.decorator_list
    if more or not _calls(decorator, names, ["mergeable"]):
        return None
    assert isinstance(decorator, ast.Call)
    made: dict[str, State] = {}
    for keyword in decorator.keywords:
        call = keyword.value
        if keyword.arg is None or not isinstance(call, ast.Call) or not _calls(call, names, makers):
            return None
        try:
            values = [ast.literal_eval(each) for each in call.args]
            options: dict[str, Any] = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
            made[keyword.arg] = makers[names[call.func.id]](*values, **options)  # type: ignore[attr-defined]
        except (ValueError, TypeError, SyntaxError):
            return None
    return None if decorator.args else made


def _calls(node: ast.expr, names: Mapping[str, str], valid: Any) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and names.get(node.func.id) in valid
