"""A parser of the command line whose errors are like all others: what, where, expected, found, what to do.

Limit: it knows the messages of argparse by their form; one that it does not know is told as it is.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from sli.errors import ConfigError, check_known, nearest

CHOICE = re.compile(r"argument (?P<where>[^:]+): invalid choice: '(?P<found>.*)' \(choose from (?P<valid>.*)\)")
OF_ARGUMENT = re.compile(r"argument (?P<where>[^:]+): (?P<what>.*)", re.DOTALL)
MISSING = re.compile(r"the following arguments are required: (?P<names>.*)")


class Parser(argparse.ArgumentParser):
    """Raises ConfigError where argparse prints its usage and leaves."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **keywords)

    def parse(self, arguments: Sequence[str], options: argparse.Namespace) -> argparse.Namespace:
        """The options, of a subcommand too. Raises ConfigError."""
        if arguments[0].startswith("-") and arguments[0] not in self._option_string_actions:
            raise self._unknown([arguments[0]])
        options, unknown = self.parse_known_args(arguments, options)
        if unknown:
            raise self._asked(options)._unknown(unknown)
        return options

    def _asked(self, options: argparse.Namespace) -> Parser:
        """The parser of the command that the options are of: the innermost one."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen = action.choices[getattr(options, action.dest)]
                return chosen._asked(options) if isinstance(chosen, Parser) else self
        return self

    def _unknown(self, arguments: Sequence[str]) -> ConfigError:
        """What to say of arguments that the parser does not know."""
        help = f"`{self.prog} --help` lists what it takes"
        for name in arguments:
            if name.startswith("-"):
                option = name.partition("=")[0]
                long = [known for known in self._option_string_actions if known.startswith("--")]
                todo = nearest(option, long) or help
                return ConfigError(f"unknown option '{option}'", where=self.prog, todo=todo)
        return ConfigError(f"'{arguments[0]}' is one argument too many", where=self.prog, todo=help)

    def error(self, message: str) -> NoReturn:
        """Raise the error that argparse found."""
        help = f"`{self.prog} --help` lists what it takes"
        if choice := CHOICE.fullmatch(message):
            found, is_command = choice["found"], choice["where"] in ("COMMAND", "SINK")
            valid = [one or other for one, other in re.findall(r"'([^']*)'|([\w-]+)", choice["valid"])]
            what = f"unknown {choice['where'].lower()} '{found}'" if is_command else f"'{found}' is not a choice"
            check_known(what, found, valid, where=self.prog if is_command else f"{self.prog} {choice['where']}")
        if missing := MISSING.fullmatch(message):
            raise ConfigError(f"missing: {missing['names']}", where=self.prog, todo=help)
        if one := OF_ARGUMENT.fullmatch(message):
            raise ConfigError(one["what"], where=f"{self.prog} {one['where']}", todo=help)
        raise ConfigError(message, where=self.prog, todo=help)
