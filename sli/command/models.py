"""Answers of a command printed: of one config alone, or of several one after another, with a table at the end.

Several share this process and, where their `dask` settings are equal, one cluster. Limit: one after another, so that
each has the whole machine or cluster.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sli.command.answers import Answer
from sli.command.output import check_format, print_json, print_lines, print_warnings
from sli.config.load import load_config
from sli.config.model import Config
from sli.config.several import Model, are_several, load_models
from sli.engine.interrupts import signals_first
from sli.errors import DIFFERENT, FAILED, WARNED, WRONG_CONFIG, ConfigError, SliError
from sli.masking import masked

AnswerOf = Callable[[argparse.Namespace, Config], Answer]
WORST_FIRST = {
    FAILED: "failed",
    WRONG_CONFIG: "with a config error",
    DIFFERENT: "with differences",
    WARNED: "with warnings",
    0: "",
}
"""Exit codes, and what is said of models that ended with them."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of one of several configs: an answer or an error, and its row of the table."""

    name: str
    exit_code: int
    plain: object = None
    error: Mapping[str, object] = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)


def print_answers(options: argparse.Namespace, answer_of: AnswerOf) -> int:
    """Print what a command answers for its configs; returns the exit code. Raises SliError for one config alone."""
    if are_several(options.configs):
        if getattr(options, "format", None):
            raise ConfigError(
                "--format takes one config", found=", ".join(options.configs), todo="one command for each"
            )
        return _print_several(options, answer_of)
    return print_answer(options, options.configs[0], answer_of)


def print_answer(options: argparse.Namespace, config: str, answer_of: AnswerOf) -> int:
    """Print what a command answers for one config; returns the exit code. Raises SliError."""
    format = getattr(options, "format", None)
    if format is not None:
        check_format(format)
    answer = answer_of(options, load_config(config, options.settings))
    if format is not None and answer.rows is not None:
        from sli.command.formats import print_rows

        print_rows(answer.rows(), format)
    elif options.json:
        print_json(answer.plain())
    else:
        _print_answer(answer)
    return answer.exit_code


def _print_answer(answer: Answer, of: str = "") -> None:
    print_lines(answer.lines())
    sys.stdout.flush()
    print_warnings(answer.warnings, of)


def _print_several(options: argparse.Namespace, answer_of: AnswerOf) -> int:
    from sli.command.grid import terminal_width
    from sli.matching.execute import one_cluster

    models, notes = load_models(options.configs, options.settings)
    if not options.json:
        print_warnings(notes)
    models = by_cluster(models)
    with one_cluster():
        done = [_printed(options, model, answer_of) for model in models]
    if options.json:
        print_json([_entry(model, each) for model, each in zip(models, done, strict=True)])
    else:
        print_lines(summary_lines(done, terminal_width()))
    return min((each.exit_code for each in done), key=[*WORST_FIRST].index)


def by_cluster(models: Sequence[Model]) -> list[Model]:
    """The models in their order, but those of one cluster together, so that none is started twice."""
    from sli.matching.execute import cluster_of

    clusters: list[object] = []
    places = {}
    for model in models:
        cluster = cluster_of(model.config) if isinstance(model.config, Config) else None
        if cluster not in clusters:
            clusters.append(cluster)
        places[model.path] = clusters.index(cluster)
    return sorted(models, key=lambda model: places[model.path])


def _printed(options: argparse.Namespace, model: Model, answer_of: AnswerOf) -> Done:
    """What came of one of several configs; as text it is printed."""
    if not options.json:
        print_lines([f"# {model.name}" + f": {model.path}" * isinstance(model.config, Config)])
        # Whoever reads along in a file sees which model is at work, and stderr keeps its place beside stdout.
        sys.stdout.flush()
    own = argparse.Namespace(**vars(options) | {"began": time.monotonic()})

    def print_answer(config: Config) -> Done:
        answer = answer_of(own, config)
        if options.json:
            return Done(name=model.name, exit_code=answer.exit_code, plain=answer.plain())
        _print_answer(answer, f"{model.name}: ")
        return Done(name=model.name, exit_code=answer.exit_code, cells=answer.cells())

    def print_error(text: str) -> None:
        if not options.json:
            print_warnings([text])

    done = answered(model, print_answer, print_error)
    if not options.json:
        print_lines([""])
    return done


def answered(model: Model, answer: Callable[[Config], Done], tell: Callable[[str], None]) -> Done:
    """What `answer` makes of a model, or its error, which is told and does not stop the other models."""
    try:
        if isinstance(model.config, SliError):
            raise model.config
        with signals_first():
            return answer(model.config)
    except SliError as error:
        text, parts, code = str(error), error.to_dict(), error.exit_code
    except Exception as error:
        # A mistake in sli or in a user's code: the other models need not wait until it is mended.
        text, code = traceback.format_exc(), FAILED
        parts = {"what": masked(f"{type(error).__name__}: {error}")}
    tell(f"{model.name}: {text}")
    kind = "config error" if code == WRONG_CONFIG else "failed"
    return Done(name=model.name, exit_code=code, error=parts, cells={"outcome": f"{kind}: {parts['what']}"})


def _entry(model: Model, done: Done) -> dict[str, object]:
    """The entry of a model in the list that `--json` prints."""
    name = model.config.model if isinstance(model.config, Config) else None
    answer = {"error": done.error} if done.error else {"result": done.plain}
    return {"config": str(model.path), "model": name, "exit_code": done.exit_code, **answer}


def summary_lines(done: Sequence[Done], width: int | None = None) -> list[str]:
    """A table with a line for each model, and below it how many models there are and how many did not end well."""
    from sli.command.grid import columns, lines
    from sli.reading.figures import counted

    names = [*dict.fromkeys(name for each in done for name in each.cells if name != "outcome"), "outcome"]
    names = [name for name in names if any(each.cells.get(name) for each in done)]
    rows = [(each.name, *(each.cells.get(name, "") for name in names)) for each in done]
    table = columns(("model", *names), rows, left=("model", "objectives", "coverage", "outcome"))
    codes = Counter(each.exit_code for each in done)
    kinds = [f"{codes[code]} {what}" for code, what in WORST_FIRST.items() if what and code in codes]
    return [*lines(table, width, keys=1), ", ".join([counted(len(done), "model"), *kinds])]
