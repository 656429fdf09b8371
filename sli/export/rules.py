"""Rules for Prometheus from a config: alerts on its objectives, its labels and its runs, and recordings for dashboards.

An alert follows the verdict of the tables, which heeds the confidence interval, and tells a breach that stays from one
that labels still missing may end. Limit: they look at the newest windows, which is what Prometheus gets.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from sli.calendar.duration import SECOND
from sli.config.model import Config
from sli.export.chosen import usual_grains
from sli.export.samples import ALL, unit_of
from sli.judging.standing import bound_text, stale_after
from sli.slis import Sli

Rule = dict[str, Any]
FIRST = "# Written by `sli export rules`: change the config and write them again.\n"
"""The first line of a file of rules."""
RUN_LATE = 26 * 3600
"""Seconds without a publication after which an alert fires: a nightly run may be two hours late."""
ABSENT = "1h"
"""How long the metrics of a model may be away."""
FEWER = 0.8
"""Labels are late if the coverage is below this share of what it was in the two weeks before."""
BEYOND = {">=": ("high", "<"), ">": ("high", "<="), "<=": ("low", ">"), "<": ("low", ">=")}
"""For each objective the end of the range that missing labels leave, and how that lies beyond the bound."""
LOOK = "`sli explain CONFIG {{ $labels.sli }}` says whether it is chance, late labels, bad data or one slice."


def rules_of(config: Config) -> str:
    """The rules as a YAML file that Prometheus reads under `rule_files`; the same for the same config."""
    required = [sli for sli in config.declared if sli.objective is not None and _exported(config, sli)]
    rules = [rule for sli in required for rule in (_margin(config, sli), *_breaches(config, sli))]
    if required:
        rules.append(_breached_slices(config))
    rules += [*_runs(config), _labels_late(config)]
    group = {"name": f"sli {config.model}", "rules": rules}
    text: str = yaml.safe_dump({"groups": [group]}, sort_keys=False, allow_unicode=True, width=10_000)
    return FIRST + text


def _exported(config: Config, sli: Sli) -> bool:
    slis = config.export.prometheus.slis
    return slis is None or sli.name in slis


def _selected(config: Config, metric: str, **labels: str) -> str:
    """A metric of the model with these labels."""
    pairs = {"model": config.model, **labels}
    # Go reads the escapes of JSON.
    return f"{metric}{{{','.join(f'{name}={json.dumps(value, ensure_ascii=False)}' for name, value in pairs.items())}}}"


def _margin(config: Config, sli: Sli) -> Rule:
    value, bound = _value_and_bound(config, sli)
    return {
        "record": "sli:margin",
        "expr": f"{value} - {bound}" if sli.direction == "higher" else f"{bound} - {value}",
        # It has this label anyway; promtool takes rules of one name and the same labels for duplicates.
        "labels": {"sli": sli.name},
    }


def _value_and_bound(config: Config, sli: Sli) -> tuple[str, str]:
    value, bound = f"sli_value{unit_of(sli)}", "sli_objective_bound"
    return _selected(config, value, sli=sli.name), _selected(config, bound, sli=sli.name)


def _breaches(config: Config, sli: Sli) -> tuple[Rule, Rule]:
    """An alert for windows that breach the objective for good, and one for those that labels may still mend."""
    assert sli.objective is not None
    value, bound = _value_and_bound(config, sli)
    breached = f"ignoring(verdict) {_selected(config, 'sli_verdict', sli=sli.name, verdict='breached')} == 1"
    end, beyond = BEYOND[sli.objective.parts[0]]
    missing = _selected(config, f"sli_missing_{end}{unit_of(sli)}", sli=sli.name)
    stays = f"({_selected(config, 'sli_final', sli=sli.name)} == 1 or {missing} {beyond} {bound})"
    shown = "{{ $value | humanizeDuration }}" if sli.unit == "s" else '{{ $value | printf "%.4g" }}'
    required = bound_text(sli.objective.text, sli.unit)
    summary = f"{{{{ $labels.model }}}}: {{{{ $labels.sli }}}} is {shown}, {required} is required"
    where = "in the newest window (grain {{ $labels.grain }}, slice {{ $labels.slice }})"
    # A template, in which a name may have what templates begin with.
    own = f"{{{{ {json.dumps(sli.name, ensure_ascii=False)} }}}}" if "{{" in sli.name else sli.name
    whole = f'{{{{ if eq $labels.slice "{ALL}" }}}}critical{{{{ else }}}}warning{{{{ end }}}}'
    return (
        {
            "alert": "SliBreached",
            "expr": f"{value} and {breached} and {stays}",
            "labels": {"sli": own, "severity": whole},
            "annotations": {
                "summary": f"{summary} {where}",
                "description": "The value and its whole confidence interval are on the wrong side, and labels that are "
                f"still missing cannot change that. {LOOK}",
            },
        },
        {
            "alert": "SliBreachedProvisionally",
            "expr": f"({value} and {breached}) unless {stays}",
            "labels": {"sli": own, "severity": "warning"},
            "annotations": {
                "summary": f"{summary} {where}, so far",
                "description": "The value and its whole confidence interval are on the wrong side; labels that are "
                f"still missing may change that. {LOOK}",
            },
        },
    )


def _breached_slices(config: Config) -> Rule:
    slices = _selected(config, "sli_verdict", verdict="breached")
    return {
        "record": "sli:breached_slices:sum",
        "expr": f"sum by (model, sli, grain) ({slices[:-1]},slice!={json.dumps(ALL)}}})",
    }


def _runs(config: Config) -> list[Rule]:
    """Rules on runs: their age, predictions that no longer come, metrics that are away."""
    run = _selected(config, "sli_last_run_timestamp_seconds")
    newest = f"max by (model) ({_selected(config, 'sli_window_end_timestamp_seconds')})"
    stale = stale_after(grain.name for grain in config.all_grains) // SECOND
    return [
        {"record": "sli:run_age_seconds", "expr": f"time() - max by (model) ({run})"},
        {
            "alert": "SliRunLate",
            "expr": f"time() - max by (model) ({run}) > {RUN_LATE}",
            "labels": {"severity": "warning"},
            "annotations": {
                "summary": "{{ $labels.model }}: no run published anything for {{ $value | humanizeDuration }}",
                "description": "Runs do not start, fail, or find nothing new in the logs. `sli show CONFIG --table "
                "runs` lists those that published; `sli plan CONFIG` says what a run would do now.",
            },
        },
        {
            "alert": "SliNoPredictions",
            "expr": f"max by (model) ({run}) - {newest} > {stale}",
            "labels": {"severity": "warning"},
            "annotations": {
                "summary": "{{ $labels.model }}: the newest prediction is {{ $value | humanizeDuration }} older than "
                "the run",
                "description": "The predictions log has no new rows, so all values are about a time long past. Look at "
                "the service that writes it, and at `predictions.path`.",
            },
        },
        {
            "alert": "SliMetricsMissing",
            "expr": f"absent({run})",
            "for": ABSENT,
            "labels": {"severity": "warning"},
            "annotations": {
                "summary": "{{ $labels.model }}: Prometheus gets no metrics of this model",
                "description": "Look at the targets of Prometheus: at node_textfile_scrape_error where node_exporter "
                "reads a file, else at `sli serve`.",
            },
        },
    ]


def _labels_late(config: Config) -> Rule:
    asked = config.export.prometheus.grains
    grain = (asked or usual_grains([grain.name for grain in config.all_grains]))[-1]
    coverage = _selected(config, "sli_coverage_ratio", grain=grain, slice=ALL)
    # A new window begins without labels, so the most of a day and an hour counts.
    most = f"max_over_time({coverage}[25h])"
    now, usual = (f"max by (model, grain, slice) ({of})" for of in (most, f"avg_over_time({most}[14d:1d] offset 1d)"))
    return {
        "alert": "SliLabelsLate",
        "expr": f"{now} < {FEWER} * {usual}",
        "labels": {"severity": "warning"},
        "annotations": {
            "summary": "{{ $labels.model }}: {{ $value | humanizePercentage }} of the predictions are labelled, fewer "
            "than usual",
            "description": "Feedback comes later than in the two weeks before, or not at all, so values are less sure. "
            "Look at the system that writes it, and at `sli show CONFIG --table audit`.",
        },
    }
