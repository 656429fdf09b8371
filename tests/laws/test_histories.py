"""Incremental equals brute force: after any history of files, configs and runs the tables equal the oracle's."""

from histories import SETTINGS, START, Histories, play
from hypothesis import settings
from oracle import Feedback, Prediction
from scenario import DAY, HOUR
from servers import two_workers


# `make fuzz` plays fresh ones.
def test_after_any_history_the_tables_equal_a_full_recomputation() -> None:
    play(settings(SETTINGS, max_examples=6, stateful_step_count=8))


def test_the_same_on_two_workers() -> None:
    """New rows, a held hour and a new SLI are computed there as anywhere else."""
    slices = {"a": "x", "b": "1"}
    state = Histories()
    try:
        with two_workers() as state.scheduler:
            state.begin(
                world={"horizon": 2 * HOUR, "slice_by": ((), ("a",)), "grains": ("hour", "day")}, on_cluster=True
            )
            state.log_predictions("1.parquet", [Prediction("b", START + 30 * HOUR, 0.25, slices)])
            state.run(later=2 * DAY)
            state.log_predictions("2.parquet", [Prediction("b", START + 5 * HOUR, 0.75, slices)])
            state.log_feedback(
                "3.parquet", [Feedback("a", START + 7 * HOUR, 1.0), Feedback("b", START + 6 * HOUR, 0.0)]
            )
            state.change_config({"slis": ("accuracy", "log_loss")})
            state.run(later=DAY)
    finally:
        state.teardown()


def test_a_new_sli_comes_with_a_prediction_from_before_the_deployment() -> None:
    """Such a row makes no tile with states, only one of feedback."""
    state = Histories()
    try:
        state.begin(world={"slis": ("accuracy",)}, later=0)
        state.change_config({"slis": ("accuracy", "log_loss")})
        state.log_predictions("1.parquet", [Prediction("a", START - 2 * DAY, 0.5, {"a": "x", "b": "1"})], later=0)
    finally:
        state.teardown()
