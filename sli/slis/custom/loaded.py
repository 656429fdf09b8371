"""A user's function: found by its dotted name, told apart from its earlier versions, sent to workers by value.

Limit: only the function's own source is seen, not that of what it calls.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from sli.errors import ConfigError, nearest
from sli.slis.custom.trust import check_code_allowed

EXPECTED = "module:function or module.function"


def load(call: str, folder: Path | None) -> Any:
    """The function `module:name` or `module.name`, its module looked for beside the config too. Raises ConfigError."""
    check_code_allowed([f"'{call}'"])
    module_name, _, name = call.partition(":") if ":" in call else call.rpartition(".")
    if not module_name or not name:
        raise ConfigError(f"'{call}' names no function", expected=EXPECTED, found=call)
    try:
        module = _module(module_name, folder)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the module of '{call}' cannot be imported", expected=EXPECTED, found=f"{type(error).__name__}: {error}"
        ) from error
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        names = [each for each in dir(module) if callable(getattr(module, each)) and not each.startswith("_")]
        raise ConfigError(f"'{call}' names no function", expected=EXPECTED, found=name, todo=nearest(name, names))
    return found


def _module(name: str, folder: Path | None) -> ModuleType:
    if folder is not None:
        beside, top = folder.resolve(), name.partition(".")[0]
        if sys.path[:1] != [str(beside)]:
            sys.path[:] = [str(beside), *(each for each in sys.path if each != str(beside))]
        importlib.invalidate_caches()
        loaded = sys.modules.get(top)
        # A process that runs several models may hold the module of that name from another config's folder.
        other = loaded is not None and not is_installed(loaded) and not is_within(loaded, beside)
        if other and ((beside / f"{top}.py").exists() or (beside / top).is_dir()):
            for each in [each for each in sys.modules if each == top or each.startswith(f"{top}.")]:
                del sys.modules[each]
    return importlib.import_module(name)


def is_installed(module: ModuleType) -> bool:
    """Whether workers have the module as this process does: it is Python's, or of a package."""
    file = vars(module).get("__file__")
    parts = ("site-packages", "dist-packages", sysconfig.get_path("stdlib"))
    return file is None or module.__name__.partition(".")[0] == "sli" or any(part in file for part in parts)


def is_within(module: ModuleType, folder: Path) -> bool:
    """Whether the module's file lies in the folder."""
    return Path(str(module.__file__)).resolve().is_relative_to(folder)


def source(function: Any) -> str:
    """What the definition of a function rests on: its source, or the version of the package it comes from."""
    if isinstance(function, functools.partial):
        return f"{source(function.func)}{function.args}{function.keywords}"
    try:
        return inspect.getsource(function if hasattr(function, "__name__") else type(function))
    except (OSError, TypeError):
        name = str(getattr(function, "__module__", None) or type(function).__module__)
        package = importlib.import_module(name.partition(".")[0])
        return f"{name}:{getattr(function, '__name__', type(function).__name__)}@{getattr(package, '__version__', '')}"


def by_value(what: Any, function: Any, folder: Path) -> bytes:
    """The bytes of an object that holds the function, with the modules beside the config that the function needs."""
    import cloudpickle

    inside = folder.resolve()
    own = sys.modules.get(str(getattr(function, "__module__", None)))
    modules = [
        each
        for name, each in list(sys.modules.items())
        if isinstance(each, ModuleType) and each.__name__ == name and not is_installed(each)
        if each is own or is_within(each, inside)
    ]
    for each in modules:
        cloudpickle.register_pickle_by_value(each)
    try:
        return bytes(cloudpickle.dumps(what))
    finally:
        for each in modules:
            cloudpickle.unregister_pickle_by_value(each)
