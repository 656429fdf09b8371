"""Import of a user's function by its dotted name, its source for the definition, and its bytes for workers.

Limit: only the function's own source, without the functions that it calls.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from sli.engine.trust import check_code_allowed
from sli.errors import ConfigError, nearest

Function = Callable[..., Any]
"""A user's function, of any arguments and result."""
EXPECTED = "module:function or module.function"


def load(call: str, folder: Path | None) -> Function:
    """The function `module:name` or `module.name`; its module may be a file of the folder. Raises ConfigError."""
    check_code_allowed([f"'{call}'"])
    module_name, _, name = call.partition(":") if ":" in call else call.rpartition(".")
    if not module_name or not name:
        raise ConfigError(f"'{call}' does not name a function", expected=EXPECTED, found=call)
    try:
        module = _module(module_name, folder)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the module of '{call}' cannot be imported",
            expected="a module in the folder of the config, or an installed one",
            found=f"{type(error).__name__}: {error}",
        ) from error
    function: object = module
    for part in name.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        names = [other for other in dir(module) if callable(getattr(module, other)) and not other.startswith("_")]
        raise ConfigError(
            f"'{call}' does not name a function", expected=EXPECTED, found=name, todo=nearest(name, names)
        )
    return function


def _module(name: str, folder: Path | None) -> ModuleType:
    if folder is not None:
        folder, top = folder.resolve(), name.partition(".")[0]
        if sys.path[:1] != [str(folder)]:
            sys.path[:] = [str(folder), *(path for path in sys.path if path != str(folder))]
        importlib.invalidate_caches()
        loaded = sys.modules.get(top)
        # A process that runs several models may have loaded a module of that name from another config's folder.
        other = loaded is not None and not is_installed(loaded) and not is_within(loaded, folder)
        if other and ((folder / f"{top}.py").exists() or (folder / top).is_dir()):
            for module in [module for module in sys.modules if module == top or module.startswith(f"{top}.")]:
                del sys.modules[module]
    return importlib.import_module(name)


def is_installed(module: ModuleType) -> bool:
    """Whether a module belongs to Python or to an installed package, so workers have it too."""
    file = vars(module).get("__file__")
    return file is None or module.__name__.partition(".")[0] == "sli" or any(part in file for part in _installed())


@functools.cache
def _installed() -> tuple[str, ...]:
    """Parts of the paths of installed modules; finding them takes 0.1 ms, and thousands of modules are asked about."""
    return "site-packages", "dist-packages", sysconfig.get_path("stdlib")


def is_within(module: ModuleType, folder: Path) -> bool:
    """Whether the module's file is in the folder."""
    return Path(str(module.__file__)).resolve().is_relative_to(folder)


def source(function: Function) -> str:
    """The function's source; without one, its name and the version of its package."""
    if isinstance(function, functools.partial):
        return f"{source(function.func)}{function.args}{function.keywords}"
    try:
        return inspect.getsource(function if hasattr(function, "__name__") else type(function))
    except (OSError, TypeError):
        name = str(getattr(function, "__module__", None) or type(function).__module__)
        package = importlib.import_module(name.partition(".")[0])
        return f"{name}:{getattr(function, '__name__', type(function).__name__)}@{getattr(package, '__version__', '')}"


def pickle_by_value(holder: object, function: Function, folder: Path) -> bytes:
    """The pickled `holder` of the function, with the function's module and the loaded modules of the config's folder.

    So a worker needs none of these modules.
    """
    import cloudpickle

    folder = folder.resolve()
    own = sys.modules.get(str(getattr(function, "__module__", None)))
    modules = [
        module
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and module.__name__ == name and not is_installed(module)
        if module is own or is_within(module, folder)
    ]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(holder))
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
