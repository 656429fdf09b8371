"""A model's page: one HTML file that needs nothing else, rendered and written.

Texts are escaped by the template, data is base64 or escaped JSON, and a content security policy forbids the network and
any other script. Limit: the page shows one publication; `sli serve` follows new ones.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from sli.config.load import load_config
from sli.config.model import Config
from sli.judging.standing import Standing
from sli.masking import masked, masked_tree
from sli.report.changes import sentence_of
from sli.report.chunks import packed
from sli.report.contents import Contents, gathered
from sli.report.files import check_file, write_file
from sli.report.windows import arrival_rows, calibration_rows, first_windows
from sli.report.words import card_of, change_rows, facts_of, headline_of, judgement_of, label_of, lead_of
from sli.slis.formula import Objective

STATIC = importlib.resources.files("sli.report") / "static"
SCRIPTS = ("text", "data", "chart", "figures", "view", "controls", "page")
"""The parts of the page's script, in the order in which they are put together."""
COMMAND = re.compile("`([^`]+)`")
RANGE = "60d"
"""How much the chart shows at first."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A page that was written: where, how large, and how long it took to make."""

    path: str
    bytes: int
    seconds: float
    standing: Standing | None
    """What it says of the model; None if nothing is published yet."""

    @property
    def line(self) -> str:
        """`report.html: 1.6 MB, made in 3.2 s`."""
        size = f"{self.bytes / 1e6:.1f} MB" if self.bytes >= 1e5 else f"{self.bytes / 1e3:.0f} kB"
        return f"{self.path}: {size}, made in {self.seconds:.1f} s"


def write_report(config: str | Path | Config, path: str | Path, *, failure: str | None = None) -> Written:
    """Write the page of a model to a file or URL; an older page stays until the new one is complete.

    `failure`, the error of the last run, is its first banner. Raises SliError.
    """
    began, config = time.monotonic(), load_config(config)
    check_file(str(path), config)
    contents = gathered(config, failure)
    html = rendered(config, contents, failure).encode()
    write_file(str(path), html, config.storage)
    return Written(
        path=str(path),
        bytes=len(html),
        seconds=time.monotonic() - began,
        standing=None if contents is None else contents.standing,
    )


def rendered(
    config: Config,
    contents: Contents | None,
    failure: str | None = None,
    live: Mapping[str, str] | None = None,
    shown: object = None,
) -> str:
    """The page of these contents; if there are none, one that says what to do.

    `shown` is what a server shows of a view without scripts.
    """
    if contents is None:
        return rendered_template("empty.html", model=config.model, problems=[failure] if failure else [])
    standing, history, outcomes = contents.standing, contents.history, contents.outcomes
    first = {"sli": 0, "slice": 0, "grain": history.first_grain, "range": RANGE}
    return rendered_template(
        "page.html",
        live=live is not None,
        shown=shown,
        windows=first_windows(contents),
        scripts=[_static("d3.min.js"), "\n".join(_static(f"page/{name}.js") for name in SCRIPTS)],
        model=standing.model,
        facts=facts_of(standing),
        headline=headline_of(standing),
        problems=standing.problems,
        cards=[card_of(one, line) for one, line in zip_longest(standing.slis, history.lines)],
        judgements=[judgement_of(one, contents.explanations.get(one.sli)) for one in standing.slis],
        lead=lead_of(standing),
        changed=sentence_of(contents.changes, contents.results),
        changes=[*change_rows(contents.changes, {one.sli: one.unit for one in standing.slis}, standing.timezone)],
        meta=_json(masked_tree({**described(contents), "first": first, "live": live})),
        chunks=[]
        if live
        else [(f"chunk-{slice}-{grain}", Markup(text)) for (slice, grain), text in history.chunks.items()],
        newest=Markup(history.newest),
        outcomes=Markup(packed(json.dumps(outcomes))) if isinstance(outcomes, dict) else "",
        arrival=arrival_rows(outcomes, config.horizon.micros / 1_000_000) if isinstance(outcomes, dict) else [],
        calibration=calibration_rows(outcomes) if isinstance(outcomes, dict) else [],
        no_outcomes="" if isinstance(outcomes, dict) else f"{outcomes.what}. {outcomes.todo}",
    )


def described(contents: Contents) -> dict[str, object]:
    """What the script needs to know of the model: its SLIs, slices and grains, which it calls by their positions."""
    standing, config = contents.standing, contents.config
    return {
        "model": standing.model,
        "timezone": standing.timezone,
        "newest": _milliseconds(standing.newest),
        "asOf": _milliseconds(standing.as_of),
        "since": config.since_instant // 1000,
        "level": standing.level,
        "horizon": config.horizon.micros // 1_000_000,
        "slis": [
            {"name": one.sli, "unit": one.unit, "better": one.better, "objective": _objective(one.objective)}
            for one in standing.slis
        ],
        "slices": [one.described() for one in contents.slices],
        "grains": [{"name": grain.name, "label": label_of(grain, config)} for grain in contents.grains],
    }


def _objective(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    sign, bound = Objective(text).parts
    return {"op": sign, "bound": bound}


def _milliseconds(time: Any) -> int:
    return int(time.timestamp() * 1000)


def _json(tree: object) -> Markup:
    """JSON that cannot end the script element it stands in."""
    return Markup(json.dumps(tree, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


@functools.cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(_static)
    templates = jinja2.Environment(
        loader=loader,
        autoescape=True,
        finalize=_without_secrets,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["told"] = _told
    return templates


def _told(text: str) -> Markup:
    """A message without secrets; what stands between backticks, as code."""
    return Markup(COMMAND.sub(r"<code>\1</code>", str(escape(masked(text)))))


def _without_secrets(value: object) -> object:
    """What a template shows of a value: texts without secrets. What is Markup is data or a script."""
    return masked(value) if type(value) is str else value


def rendered_template(template: str, *, scripts: Sequence[str] = (), live: bool = False, **context: object) -> str:
    """A template with the style and the scripts, and the policy that allows nothing else."""
    style = _static("page.css")
    allowed = [f"style-src {_hash(style)}", "img-src data:", *(["connect-src 'self'"] if live else [])]
    if scripts:
        allowed.append(f"script-src {' '.join(map(_hash, scripts))}")
    return (
        _templates()
        .get_template(template)
        .render(
            policy=Markup("; ".join(["default-src 'none'", *allowed])),
            style=Markup(style),
            scripts=[Markup(script) for script in scripts],
            **context,
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
