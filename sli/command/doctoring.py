"""`sli doctor`: what each check found, as lines.

Limit: an answer is computed and not yet printed; `models` prints it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from sli.command.answers import Answer
from sli.command.output import print_lines
from sli.config.model import Config
from sli.doctor.examine import examine
from sli.doctor.finding import LEVELS, Finding
from sli.doctor.repair import Step, repair
from sli.errors import FAILED, WARNED
from sli.reading.figures import counted


def doctor_answer(options: argparse.Namespace, config: Config) -> Answer:
    """What is wrong with a set-up, and what to do; with `--repair` once its store is mended, each step told at once."""
    steps = list(_told(repair(config), options.json)) if options.repair else []
    findings = list(examine(config))
    repaired = {"repair": [step.to_dict() for step in steps]} if options.repair else {}
    entries = [finding.to_dict() for finding in findings]
    return Answer(
        lines=lambda: list(finding_lines(findings)),
        plain=lambda: {"summary": summary(findings), **repaired, "findings": entries},
        exit_code=exit_code(findings),
        cells=lambda: {"outcome": summary(findings)},
    )


def _told(steps: Iterator[Step], quiet: bool) -> Iterator[Step]:
    """The steps, each printed before the next is done."""
    for step in steps:
        if not quiet:
            print_lines([f"repair   {step.state:6}  {step.text}"])
            sys.stdout.flush()
        yield step


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each finding, and below it what to do; how many there are at the end."""
    name = max(len(finding.check) for finding in findings)
    for finding in findings:
        yield f"{finding.level:7}  {finding.check:{name}}  {finding.text}"
        if finding.todo:
            yield f"{'':7}  {'':{name}}  what to do: {finding.todo}"
    yield summary(findings)


def summary(findings: Sequence[Finding]) -> str:
    """`12 ok, 1 skipped, 0 warnings, 2 problems`."""
    levels = Counter(finding.level for finding in findings)
    ok, skipped, warnings, problems = (levels[level] for level in LEVELS)
    return f"{ok} ok, {skipped} skipped, {counted(warnings, 'warning')}, {counted(problems, 'problem')}"


def exit_code(findings: Sequence[Finding]) -> int:
    """0 if nothing is wrong, else that of the worst finding."""
    levels = {finding.level for finding in findings}
    return FAILED if "problem" in levels else WARNED if "warning" in levels else 0
