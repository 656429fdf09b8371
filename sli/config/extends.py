"""`extends`: a config that takes the keys it lacks from another one, its base, which may have a base itself.

Mappings merge key by key; lists, single values and what WHOLE lists replace what the base has. `key: null` takes a key
of the base away. Limit: a config has one base, a file; a list is never merged with the base's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sli.config.document import parse_yaml, read
from sli.errors import ConfigError

EXTENDS = "extends"
PATHS = (
    ("store",),
    ("store", "path"),
    ("predictions", "path"),
    ("predictions", "path", "*"),
    ("feedback", "path"),
    ("feedback", "path", "*"),
    ("feedback", "*", "path"),
    ("feedback", "*", "path", "*"),
    ("bins", "*", "table"),
    ("slis", "*", "against", "table"),
    ("export", "prometheus", "textfile"),
    ("export", "webhooks", "*", "file"),
)
"""Keys whose texts are paths or URLs: `*` is any one key or position."""
WHOLE = {
    ("dask",),
    ("classes",),
    ("predictions", "scores"),
    *((log, key) for log in ("predictions", "feedback") for key in ("id", "time", "value")),
}
"""Mappings that say one thing, so they replace the base's: half a scheduler and half a factory are neither."""

At = tuple[str | int, ...]
"""A place in a config: the keys and positions that lead to a value."""


@dataclass(frozen=True)
class PathFrom:
    """A path as a config writes it, and the folder of that config, which a relative one starts from."""

    text: str
    folder: str


@dataclass(frozen=True)
class Layers:
    """A config and its bases: the keys of all together, and each file's own, the config first."""

    tree: dict[str, object]
    files: tuple[Path, ...]
    trees: tuple[Mapping[str, object], ...]

    @property
    def name(self) -> str:
        """The config and its bases in messages."""
        bases = ", ".join(map(str, self.files[1:]))
        return f"{self.files[0]} (extends {bases})" if bases else str(self.files[0])

    def folder_of(self, key: str) -> str:
        """The folder of the file that the value of a key is from; the config's own if it is from none of them."""
        files = (file for file, own in zip(self.files, self.trees, strict=True) if own.get(key) is self.tree.get(key))
        return folder_of(next(files, self.files[0]))


def folder_of(file: Path) -> str:
    return str(file.resolve().parent)


def located(path: str, folder: str) -> str:
    """A path of the config: relative ones are relative to its folder. An empty one stays empty, and is refused."""
    return path if "://" in path or not path.strip() else str((Path(folder) / Path(path).expanduser()).resolve())


class NoMapping(ConfigError):
    """A file that is YAML, but holds no keys."""


def with_bases(path: Path) -> Layers:
    """A config with the keys of its bases. Raises ConfigError."""
    files, where = [path], str(path)
    trees: list[Mapping[str, object]] = []
    while True:
        try:
            tree = read_mapping(files[-1], where)
        except ConfigError as error:
            error.todo = f"check `{EXTENDS}`" if trees and error.todo else error.todo
            raise
        base = tree.pop(EXTENDS, None)
        own = _placed(tree, folder_of(files[-1]))
        assert isinstance(own, dict)
        trees.append(own)
        if base is None:
            break
        file = base_file(base, files[-1])
        if file.resolve() in [known.resolve() for known in files]:
            raise ConfigError(
                "configs extend each other in a circle",
                where=f"{files[-1]}, key {EXTENDS}",
                found=" -> ".join(map(str, [*files, file])),
                todo=f"remove `{EXTENDS}` from one of them",
            )
        where = f"{file}, which {files[-1]} extends"
        files.append(file)
    merged: dict[str, object] = {}
    for own in reversed(trees):
        merged = _merged(merged, own)
    return Layers(merged, tuple(files), tuple(trees))


def read_mapping(path: Path, where: str) -> dict[str, object]:
    """The keys of one file alone. Raises ConfigError."""
    tree = parse_yaml(read(path, where), where)
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else type(tree).__name__
        raise NoMapping("the config must be a mapping", where=where, found=found, todo="`sli init` writes one")
    return tree


def base_file(value: object, path: Path) -> Path:
    """The file that the value of `extends` in another file names. Raises ConfigError unless it is a text."""
    if not isinstance(value, str):
        raise ConfigError(
            "this must be text",
            where=f"{path}, key {EXTENDS}",
            expected="the path of one config, for example base.yaml",
            found=repr(value),
        )
    file, here = Path(located(value, folder_of(path))), Path.cwd()
    # In messages it looks like the path of the config that was typed.
    return file if path.is_absolute() or not file.is_relative_to(here) else file.relative_to(here)


def place_of(path: Iterable[str | int]) -> str:
    """The place of a value in the config, for example `slice_by[0].columns`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def matches(at: At, pattern: Sequence[str]) -> bool:
    """Whether a pattern means this place: `*` is any one key or position, `**` at its end all below."""
    if pattern[-1] == "**":
        return len(at) >= len(pattern) and matches(at[: len(pattern) - 1], pattern[:-1])
    return len(at) == len(pattern) and all(part in ("*", key) for part, key in zip(pattern, at, strict=True))


def is_path(at: At) -> bool:
    return any(matches(at, pattern) for pattern in PATHS)


def _placed(tree: object, folder: str, at: At = ()) -> object:
    """The tree with its paths as PathFrom."""
    if isinstance(tree, dict):
        return {key: _placed(value, folder, (*at, key)) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_placed(value, folder, (*at, position)) for position, value in enumerate(tree)]
    return PathFrom(tree, folder) if isinstance(tree, str) and is_path(at) else tree


def _merged(base: Mapping[str, object], own: Mapping[str, object], at: At = ()) -> dict[str, object]:
    merged = dict(base)
    for key, value in own.items():
        before = base.get(key)
        if value is None and key in base:
            del merged[key]
        elif isinstance(before, dict) and isinstance(value, dict) and (*at, key) not in WHOLE:
            merged[key] = _merged(before, value, (*at, key))
        else:
            merged[key] = value
    return merged
