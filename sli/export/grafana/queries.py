"""The SQL of the dashboard. `$__timeFilter` and the variables are filled in by Grafana.

A variable is written with `:sqlstring`, which quotes it, whatever its value is called. Limit: points stand at the end
of their window, which is the time at which it can be known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MODEL, SLI, GRAIN, SLICE = (f"${{{name}:sqlstring}}" for name in ("model", "sli", "grain", "slice"))
DIGITS = 4
"""Of numbers in texts."""


def number(column: str) -> str:
    """SQL: a number as text, to four digits; of an SLI in seconds as a duration. The query has a column `unit`."""
    as_numeric = f"{column}::numeric"
    digits = f"greatest(0, {DIGITS - 1} - floor(log(abs({as_numeric})))::int)"
    return (
        f"CASE WHEN {column} = 0 OR {column} IN ('NaN', 'Infinity', '-Infinity') THEN {column}::text "
        f"WHEN unit = 's' THEN justify_hours(make_interval(secs => round({as_numeric})::float8))::text "
        f"ELSE trim_scale(round({as_numeric}, {digits}))::text END"
    )


@dataclass(frozen=True)
class Queries:
    """The SQL over the tables of a schema."""

    schema: str

    def table(self, name: str) -> str:
        quoted = self.schema.replace('"', '""')
        return f'"{quoted}".{name}'

    @property
    def models(self) -> str:
        return f"SELECT model FROM {self.table('models')} ORDER BY model"

    @property
    def slis(self) -> str:
        return f"SELECT sli FROM {self.table('slis')} WHERE model = {MODEL} ORDER BY objective IS NULL, number"

    @property
    def grains(self) -> str:
        return (
            f"SELECT grain FROM {self.table('models')}, unnest(grains) WITH ORDINALITY AS g(grain, number) "
            f"WHERE model = {MODEL} ORDER BY grain <> 'day', number"
        )

    @property
    def slices(self) -> str:
        return (
            f"SELECT slice_name AS __text, slice_key AS __value FROM {self.table('slices')} WHERE model = {MODEL} "
            "ORDER BY slice_key <> '{}', array_length(slice_by, 1), slice_name"
        )

    @property
    def sentence(self) -> str:
        return f"SELECT sentence FROM {self.table('models')} WHERE model = {MODEL}"

    @property
    def facts(self) -> str:
        return (
            'SELECT newest AS "predictions to", as_of AS "known at", horizon AS "labels count for", '
            'timezone AS "days of", exported_at AS "sent at", array_to_string(problems, E\'\\n\') AS "problems" '
            f"FROM {self.table('models')} WHERE model = {MODEL}"
        )

    @property
    def cards(self) -> str:
        interval = f"'[' || {number('ci_low')} || ' .. ' || {number('ci_high')} || ']'"
        return (
            f'SELECT sli AS "SLI", coalesce({number("value")}, reason, \'no value\') AS "now", '
            f"coalesce({interval}, 'no interval') AS \"interval\", coalesce(objective, '') AS \"as required\", "
            "CASE WHEN objective IS NULL THEN '' WHEN value IS NULL THEN 'no value' "
            "ELSE coalesce(verdict, 'undecided') END AS \"verdict\", coverage, maturity, "
            f'{number("before")} AS "week before", {number("change")} AS "change", better '
            f"FROM {self.table('slis')} WHERE model = {MODEL} ORDER BY objective IS NULL, number"
        )

    @property
    def unit(self) -> str:
        """The unit of the SLI as Grafana calls it."""
        return (
            "SELECT CASE WHEN unit = 's' THEN 's' ELSE 'none' END AS unit "
            f"FROM {self.table('slis')} WHERE model = {MODEL} AND sli = {SLI}"
        )

    @property
    def course(self) -> str:
        """The chosen windows: value by maturity, interval, objective, breaches, and what the newest run restated."""
        restated = (
            f"SELECT FROM {self.table('changes')} c WHERE (c.model, c.sli, c.grain, c.slice_key, c.window_end) = "
            f"({MODEL}, {SLI}, {GRAIN}, {SLICE}, chosen.window_end) AND c.old_value IS DISTINCT FROM c.value"
        )
        return self._windows(
            {
                "final": "CASE WHEN maturity = 'final' THEN value END",
                "provisional": "CASE WHEN maturity = 'provisional' THEN value END",
                "interval low": "ci_low",
                "interval high": "ci_high",
                "objective": "coalesce(objective_low, objective_high)",
                "breached": "CASE WHEN verdict = 'breached' THEN value END",
                "restated": f"CASE WHEN EXISTS ({restated}) THEN value END",
            }
        )

    @property
    def coverage(self) -> str:
        return self._windows({"coverage": "coverage"})

    @property
    def missing(self) -> str:
        """Between which values the chosen windows end, whatever the missing labels are."""
        return self._windows({"value": "value", "at least": "missing_low", "at most": "missing_high"})

    @property
    def explanation(self) -> str:
        return f"SELECT sentence FROM {self.table('slis')} WHERE model = {MODEL} AND sli = {SLI}"

    @property
    def findings(self) -> str:
        return (
            f"SELECT question, answer, finding FROM {self.table('findings')} "
            f"WHERE model = {MODEL} AND sli = {SLI} ORDER BY number"
        )

    @property
    def by_slice(self) -> str:
        """The newest window of each slice: the worst first, if it is known which direction is better."""
        newest = (
            f"SELECT * FROM {self.table('results')} r WHERE r.model = s.model AND r.sli = {SLI} AND r.grain = {GRAIN} "
            "AND r.slice_key = s.slice_key AND $__timeFilter(r.window_end) ORDER BY r.window_end DESC LIMIT 1"
        )
        return (
            'SELECT s.slice_name AS "slice", r.value, r.ci_low AS "interval low", r.ci_high AS "interval high", '
            "coalesce(r.verdict, '') AS verdict, r.predictions, r.coverage, r.maturity, r.window_end AS \"until\" "
            f"FROM {self.table('slices')} s CROSS JOIN LATERAL ({newest}) r JOIN {self.table('slis')} i "
            f"ON i.model = s.model AND i.sli = r.sli WHERE s.model = {MODEL} "
            "ORDER BY CASE WHEN i.better = 'lower' THEN -r.value ELSE r.value END NULLS LAST, s.slice_name LIMIT 200"
        )

    @property
    def audit(self) -> str:
        return (
            "SELECT log, \"check\", file, count, array_to_string(samples, ', ') AS samples, explanation "
            f"FROM {self.table('audit')} WHERE model = {MODEL} ORDER BY count DESC, number"
        )

    @property
    def causes(self) -> str:
        return (
            'SELECT key AS "because of", value::bigint AS results '
            f"FROM {self.table('models')}, jsonb_each_text(causes) WHERE model = {MODEL} ORDER BY 2 DESC, 1"
        )

    @property
    def changes(self) -> str:
        """What the newest run changed: other verdicts first, then the largest changes of a value."""
        return (
            'SELECT c.sli AS "SLI", c.grain, s.slice_name AS "slice", c.window_start AS "from", '
            'c.window_end AS "to", c.old_value AS "old", c.value AS "new", c.old_verdict AS "old verdict", '
            f"c.verdict, c.change, c.cause FROM {self.table('changes')} c LEFT JOIN {self.table('slices')} s "
            f"USING (model, slice_key) WHERE c.model = {MODEL} "
            "ORDER BY c.verdict IS NOT DISTINCT FROM c.old_verdict, abs(c.value - c.old_value) DESC NULLS LAST, "
            "c.number LIMIT 500"
        )

    @property
    def runs(self) -> str:
        return (
            'SELECT as_of AS "as of", tiles_recomputed AS "hours recomputed", results_changed AS "results changed", '
            f"seconds, coalesce(backfill, '') AS backfill FROM {self.table('runs')} WHERE model = {MODEL} "
            "AND $__timeFilter(as_of) ORDER BY sequence DESC LIMIT 200"
        )

    def _windows(self, columns: Mapping[str, str]) -> str:
        """SQL: the chosen windows with these columns, and a row of nulls where windows are missing between two.

        Without that row Grafana would draw a line over the gap.
        """
        chosen = (
            f"SELECT * FROM {self.table('results')} WHERE model = {MODEL} AND sli = {SLI} AND grain = {GRAIN} "
            f"AND slice_key = {SLICE} AND $__timeFilter(window_end)"
        )
        values = ", ".join(f'{value} AS "{name}"' for name, value in columns.items())
        return (
            f"WITH chosen AS ({chosen}), steps AS (SELECT window_end, "
            "window_end - lag(window_end) OVER (ORDER BY window_end) AS step FROM chosen), "
            "usual AS (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY step) AS step FROM steps) "
            f"SELECT window_end AS time, {values} FROM chosen "
            f"UNION ALL SELECT s.window_end - s.step + u.step{', NULL' * len(columns)} FROM steps s, usual u "
            "WHERE s.step > 1.5 * u.step ORDER BY 1"
        )
