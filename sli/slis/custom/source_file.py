"""A user's function read from its file, without running the file: its source, its parameters, its states.

So a plan knows what a series depends on without importing it. Limit: only a function that its file defines once, at the
top level, undecorated or with `@mergeable` and states of constants. All others must be imported.
"""

from __future__ import annotations

import ast
import inspect
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path

from sli.engine.trust import is_code_allowed
from sli.slis.custom.imports import is_installed, is_within
from sli.slis.custom.mergeable import MAKERS
from sli.slis.states import State

MODULE = "sli.mergeable"


@dataclass(frozen=True)
class Signature:
    """What sli knows of a function: its source, its parameters, and its states if it is mergeable."""

    source: str
    parameters: tuple[Parameter, ...]
    states: Mapping[str, State] | None = None


def read_signature(call: str, folder: Path) -> Signature | None:
    """The signature of `module:name` from its file, with the source as `inspect.getsource` gives it.

    None if only an import can give the signature.
    """
    module, _, name = call.partition(":") if ":" in call else call.rpartition(".")
    path = _file(module, folder)
    if path is None or "." in name:
        return None
    try:
        with tokenize.open(path) as file:
            lines = file.read().splitlines(keepends=True)
        tree = ast.parse("".join(lines))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None  # the import will say what is wrong
    definitions = [node for node in ast.walk(tree) if {name, "*"} & set(_bound_names(node))]
    node = definitions[0] if len(definitions) == 1 else None
    if not isinstance(node, ast.FunctionDef) or node not in tree.body:
        return None
    states = None
    if node.decorator_list:
        states = _states(node, _imported_names(tree))
        if states is None:
            return None
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return Signature("".join(inspect.getblock(lines[first - 1 :])), tuple(_parameters(node.args)), states)


def _file(module: str, folder: Path) -> Path | None:
    """The module's file in the folder, unless Python would import something else under that name."""
    top, folder = module.partition(".")[0], folder.resolve()
    own, loaded = sys.modules.get(top), sys.modules.get(module)
    if top in sys.builtin_module_names or (own is not None and is_installed(own)):
        return None
    if loaded is not None and is_within(loaded, folder) and is_code_allowed():
        # The file may have changed since, but the function that runs is the loaded one.
        return None
    path = folder.joinpath(*module.split("."))
    # Python prefers a package to a module of the same name.
    files = [file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]
    return files[0] if files and module and all(part.isidentifier() for part in module.split(".")) else None


def _bound_names(node: ast.AST) -> Iterator[str]:
    """Names that a node may assign at any place of the file: a function may declare them `global`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)


def _parameters(arguments: ast.arguments) -> Iterator[Parameter]:
    by_place = [*arguments.posonlyargs, *arguments.args]
    required = len(by_place) - len(arguments.defaults)
    for i, argument in enumerate(by_place):
        kind = Parameter.POSITIONAL_ONLY if i < len(arguments.posonlyargs) else Parameter.POSITIONAL_OR_KEYWORD
        yield Parameter(argument.arg, kind, default=Parameter.empty if i < required else ...)
    if arguments.vararg:
        yield Parameter(arguments.vararg.arg, Parameter.VAR_POSITIONAL)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield Parameter(argument.arg, Parameter.KEYWORD_ONLY, default=Parameter.empty if default is None else ...)
    if arguments.kwarg:
        yield Parameter(arguments.kwarg.arg, Parameter.VAR_KEYWORD)


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """The names of `sli.mergeable` by the names under which the file imports them."""
    names: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == MODULE:
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
    bound = [name for node in ast.walk(tree) for name in _bound_names(node)]
    return {own: name for own, name in names.items() if bound.count(own) == 1}


def _states(node: ast.FunctionDef, names: Mapping[str, str]) -> dict[str, State] | None:
    """The states of `@mergeable(name=total("..."), ...)`; None unless all their arguments are constants."""
    [decorator, *others] = node.decorator_list
    if others or not isinstance(decorator, ast.Call) or decorator.args:
        return None
    if _called_name(decorator, names) != "mergeable":
        return None
    states: dict[str, State] = {}
    for keyword in decorator.keywords:
        call = keyword.value
        maker = MAKERS.get(_called_name(call, names)) if isinstance(call, ast.Call) else None
        if keyword.arg is None or not isinstance(call, ast.Call) or maker is None:
            return None
        try:
            values = [ast.literal_eval(argument) for argument in call.args]
            options = {str(option.arg): ast.literal_eval(option.value) for option in call.keywords}
            states[keyword.arg] = maker(*values, **options)
        except (ValueError, TypeError, SyntaxError):
            return None
    return states


def _called_name(call: ast.Call, names: Mapping[str, str]) -> str:
    """The name in `sli.mergeable` of the called function; empty if it is from elsewhere."""
    return names.get(call.func.id, "") if isinstance(call.func, ast.Name) else ""
