"""`sli report`: writes the page of a model, or of several with an index, and says where it is.

Limit: several models one after another; one whose page cannot be made stops no other.
"""

from __future__ import annotations

import argparse

from sli.command.models import WORST_FIRST
from sli.command.output import print_json, print_lines, print_warnings
from sli.config.load import load_config
from sli.config.several import are_several, load_models
from sli.engine.interrupts import signals_first
from sli.report.index import ModelPage, write_reports
from sli.report.page import Written, write_report

FILE, FOLDER = "report.html", "reports"


def report(options: argparse.Namespace) -> int:
    """Write the page, or the pages; returns the exit code. Raises SliError."""
    if are_several(options.configs):
        return _several(options)
    config = load_config(options.configs[0], options.settings)
    written = write_report(config, options.output or FILE)
    if options.json:
        print_json(_plain(written))
    else:
        print_lines([written.line])
        if written.standing is None:
            print_lines([f"nothing is published yet: `sli run {options.configs[0]}`"])
    return 0


def _several(options: argparse.Namespace) -> int:
    models, notes = load_models(options.configs, options.settings)
    if not options.json:
        print_warnings(notes)

    def tell(page: ModelPage) -> None:
        if options.json:
            return
        if page.error is not None:
            print_warnings([f"{page.name}: {page.error}"])
        elif page.written is not None:
            print_lines([f"{page.name}: {page.state}, {page.written.line}"])

    with signals_first():
        pages = write_reports(models, options.output or FOLDER, tell)
    if options.json:
        print_json({"index": _plain(pages.index), "models": [_entry(page) for page in pages.models]})
    else:
        print_lines([pages.index.line])
    codes = [0 if page.error is None else page.error.exit_code for page in pages.models]
    return min(codes, key=[*WORST_FIRST].index)


def _entry(page: ModelPage) -> dict[str, object]:
    outcome = {"error": page.error.to_dict()} if page.error is not None else _plain(page.written)
    return {"model": page.name, "state": page.state, **outcome}


def _plain(written: Written | None) -> dict[str, object]:
    if written is None:
        return {}
    return {"path": written.path, "bytes": written.bytes, "seconds": written.seconds}
