"""The rule for late feedback. All of it is in this module; other modules ask a `Horizon`.

Feedback counts for a prediction if it becomes known at most `horizon` after it. Later feedback does not count: the
audit lists it as `late`. So a window is final `horizon` after its end: then no feedback can change it, only
a backfill can. Where clocks differ, feedback may also be known up to `feedback.early` before its prediction.

For example, with a horizon of 7d the window of 1 March is final as of 9 March, 0:00. Limit: the rule knows times, not
rows; which of several feedback rows counts is settled in `matching.duplicates`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sli.calendar.interval import BEGINNING, Instants, Interval
from sli.config.model import FORESEEN, Config
from sli.engine.arrow import Flags


@dataclass(frozen=True)
class Horizon:
    """How long `before` and `after` its prediction feedback may become known and count, in microseconds."""

    before: int
    after: int

    @staticmethod
    def of(config: Config) -> Horizon:
        # Feedback that is known at once has the time `since`, however much later its prediction is made.
        early = FORESEEN - config.since_instant if config.known_at_once else config.feedback_rules.early.micros
        return Horizon(early, config.horizon.micros)

    def feedback_for(self, predictions: Interval) -> Interval:
        """The times at which feedback may become known that counts for predictions of this interval."""
        return predictions.widened(self.before, self.after)

    def predictions_for(self, feedback: Interval) -> Interval:
        """Times of the predictions that feedback known in this interval may count for."""
        return feedback.widened(self.after, self.before)

    def counts(self, feedback: str = "f_t", prediction: str = "t") -> str:
        """SQL condition: feedback known at `feedback` may count for a prediction made at `prediction`."""
        return f"{feedback} >= {prediction} - {self.before} AND {feedback} <= {prediction} + {self.after}"

    def final(self, ends: Instants, as_of: int) -> Flags:
        """Which windows, given by their ends, are final as of an instant."""
        return ends + self.after <= as_of

    def final_before(self, as_of: int, tile: int) -> int:
        """The instant before which all tiles are final as of `as_of`."""
        return max(BEGINNING, as_of - self.after) // tile * tile

    def newly_final(self, before: int, as_of: int) -> Interval:
        """The interval of window ends that are final as of `as_of` and were not as of `before`."""
        return Interval(before - self.after + 1, as_of - self.after + 1)


def why_unmatched(feedback: str, prediction: str, since: int) -> str:
    """SQL of the reason why feedback known at `feedback` counts for no prediction.

    `prediction` is the time of the prediction with its id, null if there is none.
    """
    return (
        f"CASE WHEN {prediction} IS NULL THEN 'orphan' WHEN {prediction} < {since} THEN 'before since' "
        f"WHEN {feedback} > {prediction} THEN 'late' ELSE 'before prediction' END"
    )
