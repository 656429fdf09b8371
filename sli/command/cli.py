"""The command `sli`. Limit: it formats and exits; everything it does is a call of the library."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sli.command.arguments import parser
from sli.command.output import print_json, print_lines, print_warnings
from sli.engine.interrupts import signals_first
from sli.engine.trust import no_code
from sli.errors import WARNED, SliError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    # Looking for plugins of pydantic means reading what each installed package says of itself.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")
    # What imports make stays: looking through it for garbage again and again takes a tenth of a short command.
    gc.set_threshold(1_000_000)
    # Nor is it looked through once more at the end, when all memory is given back anyway.
    atexit.register(gc.freeze)
    given = sys.argv[1:] if arguments is None else [*arguments]
    # `init` and `demo` lack the options of the others.
    options = argparse.Namespace(began=time.monotonic(), json="--json" in given, no_code=False)
    try:
        if not given:
            parser().print_help()
            return 0
        options = parser().parse(given, options)
        with signals_first(), no_code(options.no_code):
            return COMMANDS[options.command](options)
    except SliError as error:
        if options.json:
            print_json({"error": error.to_dict()})
        else:
            print(f"sli: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        from sli.config.several import are_several

        parts = "; parts already published stay, and the same command continues" * (options.command == "backfill")
        models = "; models already published stay" * (options.command == "run" and are_several(options.configs))
        print(f"sli: interrupted; nothing unpublished is visible{parts}{models}", file=sys.stderr)
        return 130


def _work(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A command that is a function of a module, which is imported only then."""
    return lambda options: int(_imported(module, name)(options))


def _answer(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A command that prints the answer of such a function."""

    def command(options: argparse.Namespace) -> int:
        from sli.command.models import print_answer, print_answers

        answer_of = _imported(module, name)
        single = "config" in options
        return print_answer(options, options.config, answer_of) if single else print_answers(options, answer_of)

    return command


def _imported(module: str, name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(importlib.import_module(f"sli.command.{module}"), name)
    return function


def _run(options: argparse.Namespace) -> int:
    from sli.command.idle import NOTHING_TO_DO, idle_config

    keys = idle_config(options)
    if keys is None:
        return _answer("answers", "run_answer")(options)
    # A sink may lack what an earlier run published.
    warnings = _imported("exporting", "repaired")(options) if keys.get("export") else ()
    print_lines([f"{NOTHING_TO_DO} ({time.monotonic() - options.began:.1f} s)"])
    print_warnings(warnings)
    return WARNED if warnings else 0


def _export(options: argparse.Namespace) -> int:
    return SINKS[options.sink](options)


def _init(options: argparse.Namespace) -> int:
    from sli.command.init import planned, write_config

    path, feedback = Path(options.config), options.feedback or options.predictions
    print_lines(write_config(path, options.predictions, feedback, options.store, options.timezone))
    try:
        print_lines(planned(path))
    except SliError as error:
        print(f"sli: {path} is written, but a run with it would fail:\n{error}", file=sys.stderr)
        return error.exit_code
    return 0


SINKS: dict[str, Callable[[argparse.Namespace], int]] = {
    "postgres": _answer("postgres", "postgres_answer"),
    "grafana": _answer("grafana", "grafana_answer"),
    "prometheus": _answer("prometheus", "prometheus_answer"),
    "rules": _answer("rules", "rules_answer"),
}
"""What `sli export` sends to, each like a command of its own."""
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "plan": _answer("answers", "plan_answer"),
    "backfill": _answer("answers", "backfill_answer"),
    "show": _answer("shown", "show_answer"),
    "query": _answer("asked", "query_answer"),
    "sql": _work("sql", "sql"),
    "slices": _answer("asked", "slices_answer"),
    "compare": _answer("asked", "compare_answer"),
    "explain": _answer("asked", "explain_answer"),
    "report": _work("reporting", "report"),
    "serve": _work("serving", "serve"),
    "export": _export,
    "verify": _answer("answers", "verify_answer"),
    "status": _answer("status", "status_answer"),
    "doctor": _answer("doctoring", "doctor_answer"),
    "gc": _answer("collecting", "gc_answer"),
    "init": _init,
    "demo": _work("demo.show", "demo"),
}

if __name__ == "__main__":
    sys.exit(main())
