"""The naive oracle: docs/semantics.md as plain loops over all rows, sharing no code with the product.

It is slow on purpose and meant for small worlds whose values have ordinary squares (no overflow, no underflow).
Two changes of a zone's UTC offset within one hour are not foreseen.
"""

import json
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

SECOND = 1_000_000
HOUR = 3600 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPS = 2.220446049250313e-16

Step = tuple[str, int]  # ("d", calendar days) or ("us", physical microseconds)
Grain = (
    str | tuple[str, str, Step, Step]
)  # "hour", "day", "week", "month", "cumulative" or ("sliding", name, size, every)
Slice = tuple[tuple[str, str | None], ...]
Window = tuple[int, int]
Audit = Counter[tuple[str, str]]  # rows by (log, check)


@dataclass(frozen=True)
class Prediction:
    """One logged prediction; its time is a UTC instant in microseconds."""

    id: str | None
    time: int | None
    value: float | None
    slices: Mapping[str, str | None]
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Feedback:
    """One logged feedback; its time is a UTC instant in microseconds."""

    id: str | None
    time: int | None
    value: float | None
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class World:
    """What is asked: the parts of a config that change a number. Durations and `since` are microseconds."""

    task: str  # "binary" or "regression"
    threshold: float = 0.5
    horizon: int
    early: int = 0
    duplicates_within: int | None = None  # None: 30 days, or `horizon` and `early` if that is longer; -1: forever
    since: int
    zone: str
    slice_by: tuple[tuple[str, ...], ...]
    grains: tuple[Grain, ...]
    slis: tuple[str, ...]
    predictions_keep: str = "first"  # or "latest"
    feedback_keep: str = "latest"  # or "first"
    feedback_nulls: str = "withdraw"  # or "ignore"
    top: int | None = None  # of every set of slices, in each window
    min_support: int = 0
    reference: tuple[int, int] = (0, 0)  # what `difference_fixed` compares with


@dataclass(frozen=True)
class Pair:
    """A winning prediction with its label, or with none."""

    time: int
    score: float | None
    slices: Mapping[str, str | None]
    label: float | None = None
    delay: float | None = None  # seconds from the prediction to the feedback that gave the label


class Key(NamedTuple):
    """What one result row is about; equal to the plain tuple of its fields."""

    sli: str
    grain: str
    window_start: int
    window_end: int
    slice_by: tuple[str, ...]
    slice: Slice


@dataclass(frozen=True)
class Row:
    """One result; `reason` says why a value is None."""

    value: float | None
    reason: str | None
    predictions: int
    labelled: int
    maturity: str


@dataclass(frozen=True)
class Answer:
    """All results, the audit counts by (log, check) without zeros, and the pairs that they rest on."""

    results: dict[Key, Row]
    audit: dict[tuple[str, str], int]
    pairs: list[Pair]


class Undefined(Exception):
    """An SLI has no value; the message is the reason."""


def oracle(world: World, predictions: Sequence[Prediction], feedback: Sequence[Feedback], as_of: int) -> Answer:
    """Every result and audit count of what was known at `as_of`."""
    audit: Audit = Counter()
    known, before_since = known_predictions(world, predictions, as_of, audit)
    labels = known_feedback(world, feedback, as_of, audit)
    winners = winning_predictions(world, known, audit)
    pairs = matched(world, winners, labels, audit)
    count_unmatched(world, winners, known, before_since, labels, audit)
    results: dict[Key, Row] = {}
    for grain in world.grains if pairs else ():
        name = grain if isinstance(grain, str) else grain[1]
        for start, end in windows(world, grain, [pair.time for pair in pairs]):
            held, others = (
                [p for p in pairs if a <= p.time < b] for a, b in ((start, end), before(world, grain, start))
            )
            fixed = [p for p in pairs if world.reference[0] <= p.time < world.reference[1]]
            maturity = "final" if end + world.horizon <= as_of else "provisional"
            for slice_by in world.slice_by:
                columns = tuple(sorted(slice_by))
                compared = {
                    "difference_previous": sliced(columns, others),
                    "difference_fixed": sliced(columns, fixed),
                }
                for values, members in capped(world, sliced(columns, held)).items():
                    for sli in world.slis:
                        other = compared.get(sli, {}).get(values, [])
                        key = Key(sli, name, start, end, columns, values)
                        results[key] = row(world, sli, members, other, maturity, bool(columns))
    return Answer(results, {key: rows for key, rows in audit.items() if rows}, pairs)


def sliced(columns: tuple[str, ...], pairs: list[Pair]) -> dict[Slice, list[Pair]]:
    """The pairs by their values in the columns; no columns make the one slice of all."""
    slices: dict[Slice, list[Pair]] = {}
    for pair in pairs:
        slices.setdefault(tuple((column, pair.slices[column]) for column in columns), []).append(pair)
    return slices


def capped(world: World, slices: dict[Slice, list[Pair]]) -> dict[Slice, list[Pair]]:
    """The largest slices, and all others as one."""
    if world.top is None or () in slices:
        return slices
    # Of two slices of one size the one whose JSON comes first is larger.
    order = sorted(slices, key=lambda each: (-len(slices[each]), json.dumps(dict(each), separators=(",", ":"))))
    kept = {each: slices[each] for each in order[: world.top]}
    if rest := [pair for each in order[world.top :] for pair in slices[each]]:
        kept[tuple((column, "(other)") for column, _ in order[0])] = rest
    return kept


def row(world: World, sli: str, pairs: list[Pair], others: list[Pair], maturity: str, of_slice: bool) -> Row:
    """One result row over the pairs of one window and slice, and of those it may be compared with."""
    labelled = sum(1 for pair in pairs if pair.label is not None)
    try:
        if of_slice and len(pairs) < world.min_support:
            raise Undefined(f"fewer than {world.min_support} predictions")
        if sli.startswith("difference_"):
            scores, before = ([p.score for p in each if p.score is not None] for each in (pairs, others))
            mean = ratio(math.fsum(scores), len(scores), "no values")
            value = mean - ratio(math.fsum(before), len(before), "no reference values")
            return Row(value, None, len(pairs), labelled, maturity)
        return Row(sli_value(world, sli, pairs), None, len(pairs), labelled, maturity)
    except Undefined as undefined:
        return Row(None, str(undefined), len(pairs), labelled, maturity)


# Rows that count, and the join


def at(log_row: Prediction | Feedback) -> int:
    """The time of a valid row."""
    assert log_row.time is not None
    return log_row.time


def is_valid(world: World, log_row: Prediction | Feedback) -> bool:
    """Whether a row has an id, a time and a value that can be one; null is a value that can be one."""
    if log_row.id is None or log_row.time is None:
        return False
    if log_row.value is None:
        return True
    if not math.isfinite(log_row.value):
        return False
    if world.task != "binary":
        return True
    return log_row.value in (0, 1) if isinstance(log_row, Feedback) else 0 <= log_row.value <= 1


def known_predictions(
    world: World, predictions: Sequence[Prediction], as_of: int, audit: Audit
) -> tuple[dict[str, list[Prediction]], dict[str, list[Prediction]]]:
    """The valid predictions known at `as_of` by id: those since `since`, and those before it."""
    by_id: dict[str, list[Prediction]] = {}
    before: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        if prediction.time is not None and prediction.time > as_of:
            continue
        early = prediction.time is not None and prediction.time < world.since
        if prediction.id is not None and is_valid(world, prediction):
            (before if early else by_id).setdefault(prediction.id, []).append(prediction)
        elif not early:
            audit["predictions", "invalid"] += 1
    return by_id, before


def in_winning_order(world: World, predictions: Sequence[Prediction]) -> list[Prediction]:
    """Predictions with one id, the one that wins first."""
    columns = sorted({column for slice_by in world.slice_by for column in slice_by})

    def rank(prediction: Prediction) -> tuple[int, bool, float, list[tuple[bool, str]]]:
        when = at(prediction) if world.predictions_keep == "first" else -at(prediction)
        slices = [(prediction.slices[column] is None, prediction.slices[column] or "") for column in columns]
        return when, prediction.value is None, prediction.value or 0.0, slices

    return sorted(predictions, key=rank)


def winning_predictions(world: World, known: dict[str, list[Prediction]], audit: Audit) -> dict[str, list[Prediction]]:
    """The predictions of each id that count: with none before them in order whose tile is near."""
    tile, far = tile_of(world), apart(world)
    winners: dict[str, list[Prediction]] = {}
    for id_, rows in known.items():
        ordered = in_winning_order(world, rows)
        for place, prediction in enumerate(ordered):
            near = [other for other in ordered[:place] if abs(at(prediction) // tile - at(other) // tile) * tile <= far]
            if not near:
                winners.setdefault(id_, []).append(prediction)
                continue
            audit["predictions", "duplicate"] += 1
            audit["predictions", "conflict"] += prediction.value != near[0].value
    return winners


def tile_of(world: World) -> int:
    """The length of a tile: an hour, or less where the zone has offsets that are no whole hours."""
    zone = ZoneInfo(world.zone)
    return math.gcd(HOUR, *(offset_at(zone, world.since + month * 30 * 24 * HOUR) for month in range(13)))


def apart(world: World) -> float:
    """How far apart the tiles of two predictions with one id may begin, if one of them is a duplicate."""
    if world.duplicates_within == -1:
        return math.inf
    within = world.duplicates_within
    within = max(30 * 24 * HOUR, world.horizon + world.early) if within is None else within
    return -(-within // tile_of(world)) * tile_of(world)


def known_feedback(world: World, feedback: Sequence[Feedback], as_of: int, audit: Audit) -> dict[str, list[Feedback]]:
    """The valid feedback known at `as_of`, by id, without the nulls that are ignored."""
    by_id: dict[str, list[Feedback]] = {}
    for item in feedback:
        if item.time is not None and item.time > as_of:
            continue
        if item.id is None or not is_valid(world, item):
            audit["feedback", "invalid"] += 1
        elif item.value is None and world.feedback_nulls == "ignore":
            audit["feedback", "ignored null"] += 1
        else:
            by_id.setdefault(item.id, []).append(item)
    return by_id


def in_reach(world: World, prediction: Prediction, item: Feedback) -> bool:
    """Whether feedback may count for a prediction with its id."""
    return at(prediction) - world.early <= at(item) <= at(prediction) + world.horizon


def matched(
    world: World, winners: dict[str, list[Prediction]], feedback: dict[str, list[Feedback]], audit: Audit
) -> list[Pair]:
    """One pair for each prediction that counts."""
    return [
        labelled_pair(
            world, prediction, [item for item in feedback.get(id_, []) if in_reach(world, prediction, item)], audit
        )
        for id_, predictions in winners.items()
        for prediction in predictions
    ]


def count_unmatched(
    world: World,
    winners: dict[str, list[Prediction]],
    known: dict[str, list[Prediction]],
    before_since: dict[str, list[Prediction]],
    feedback: dict[str, list[Feedback]],
    audit: Audit,
) -> None:
    """Audit the feedback that is in reach of no prediction that counts, by the predictions near it."""
    far = apart(world)
    for id_, items in feedback.items():
        for item in items:
            counting = [prediction for prediction in winners.get(id_, []) if in_reach(world, prediction, item)]
            assert len(counting) <= 1, "feedback may count for two predictions"
            if counting:
                continue
            near, earlier = (
                [p for p in rows.get(id_, []) if -(world.early + far) <= at(item) - at(p) <= world.horizon + far]
                for rows in (known, before_since)
            )
            if near:
                first = in_winning_order(world, near)[0]
                audit["feedback", "late" if at(item) > at(first) else "before prediction"] += 1
            else:
                audit["feedback", "before since" if earlier else "orphan"] += 1


def labelled_pair(world: World, prediction: Prediction, in_reach: list[Feedback], audit: Audit) -> Pair:
    """The prediction with the label of its winning feedback, if there is one and it is not null."""
    unlabelled = Pair(at(prediction), prediction.value, prediction.slices)
    if not in_reach:
        return unlabelled

    def rank(item: Feedback) -> tuple[int, bool, float]:
        when = at(item) if world.feedback_keep == "latest" else -at(item)
        return when, item.value is not None, item.value or 0.0

    winner = max(in_reach, key=rank)
    audit["feedback", "superseded"] += len(in_reach) - 1
    audit["feedback", "conflict"] += sum(1 for i in in_reach if i.time == winner.time and i.value != winner.value)
    if winner.value is None:
        audit["feedback", "withdrawn"] += 1
        return unlabelled
    delay = (at(winner) - at(prediction)) / SECOND
    return Pair(at(prediction), prediction.value, prediction.slices, winner.value, delay)


# Outcomes


class Outcome(NamedTuple):
    """What groups the pairs of a tile and slice: the least value of a bin, the label, the least age of a step."""

    tile: int
    slice_by: tuple[str, ...]
    slice: Slice
    least: float | None
    label: float | None
    age: int | None  # in tiles


def outcomes(world: World, pairs: Sequence[Pair], tile: int) -> dict[Outcome, tuple[int, float]]:
    """How many pairs each group has, and the sum of their scores (binary) or errors (regression)."""
    groups: dict[Outcome, tuple[int, float]] = {}
    for pair in pairs:
        start = pair.time // tile * tile
        label, age = None, None
        if pair.label is not None:
            assert pair.delay is not None
            label = pair.label if world.task == "binary" else 1.0
            known = pair.time + round(pair.delay * SECOND)
            age = least_of_step(max(0, known // tile - pair.time // tile))
        for slice_by in map(tuple, map(sorted, world.slice_by)):
            values = tuple((column, pair.slices[column]) for column in slice_by)
            key = Outcome(start, slice_by, values, least_of_bin(world, pair.score), label, age)
            count, total = groups.get(key, (0, 0.0))
            groups[key] = count + 1, total + amount(world, pair)
    return groups


def least_of_bin(world: World, score: float | None) -> float | None:
    """The number of a bin that is nearest to 0."""
    if score is None or score == 0:
        return score
    if world.task == "binary":
        return max(edge for edge in (0.0, *(i / 10 for i in range(1, 10)), world.threshold) if edge <= score)
    power = 2.0 ** math.floor(math.log2(abs(score)))
    least = max(power * quarter / 4 for quarter in (4, 5, 6, 7) if power * quarter / 4 <= abs(score))
    return math.copysign(least, score)


def least_of_step(age: int) -> int:
    least, width = 0, 1
    while least + width <= age:
        least += width
        width = max(1, 2 ** (least.bit_length() - 3))
    return least


def amount(world: World, pair: Pair) -> float:
    if pair.score is None:
        return 0.0
    if world.task == "binary":
        return round(pair.score * 2**20) / 2**20
    return 0.0 if pair.label is None else pair.score - pair.label


# Windows


def windows(world: World, grain: Grain, times: list[int]) -> set[Window]:
    """The windows of a grain that may hold some of the times; it may give more, empty ones."""
    zone = ZoneInfo(world.zone)
    newest = local_hour(zone, max(times))[1]
    if grain == "hour":
        return {local_hour(zone, t) for t in times}
    if grain == "day":
        return {local_day(zone, t) for t in times}
    if grain in ("week", "month"):
        return {local_period(zone, grain, t) for t in times}
    if grain == "cumulative":
        ends = [end for end in grid(world, ("d", 1), newest) if end <= newest]
        return {(world.since, end) for end in [*ends, newest]}
    if isinstance(grain, str):
        raise ValueError(f"no grain {grain!r}")
    _, _, size, every = grain
    return {(start_of_sliding(zone, end, size), end) for end in grid(world, every, newest)}


def before(world: World, grain: Grain, start: int) -> Window:
    """The window before one of a grain: it ends where that one starts."""
    zone = ZoneInfo(world.zone)
    if grain == "cumulative":
        return start, start
    if grain == "hour":
        return local_hour(zone, start - 1)[0], start
    if grain == "day":
        return local_day(zone, start - 1)[0], start
    if isinstance(grain, str):
        return local_period(zone, grain, start - 1)[0], start
    return start_of_sliding(zone, start, grain[2]), start


def grid(world: World, every: Step, newest: int) -> list[int]:
    """The instants from `since` in steps of `every`, the first at or after `newest` being the last."""
    zone = ZoneInfo(world.zone)
    unit, length = every
    first_day = local(zone, world.since).date()
    ends: list[int] = []
    while not ends or ends[-1] < newest:
        steps = (len(ends) + 1) * length
        ends.append(midnight(zone, first_day + timedelta(days=steps)) if unit == "d" else world.since + steps)
    return ends


def start_of_sliding(zone: ZoneInfo, end: int, size: Step) -> int:
    """`size` before the end; whole days go back to the same local time of an earlier date."""
    unit, length = size
    if unit == "us":
        return end - length
    moment = local(zone, end)
    day = moment.date() - timedelta(days=length)
    if end == midnight(zone, moment.date()):
        return midnight(zone, day)
    return instant(datetime.combine(day, moment.time().replace(fold=0), zone))


def local_hour(zone: ZoneInfo, t: int) -> Window:
    """The instants around t that share its local hour and its offset."""
    offset = offset_at(zone, t)
    start = t - (t + offset) % HOUR
    end = start + HOUR
    while offset_at(zone, start) != offset:
        start += SECOND
    while offset_at(zone, end - 1) != offset:
        end -= SECOND
    return start, end


def local_day(zone: ZoneInfo, t: int) -> Window:
    """The calendar day that holds t."""
    here = local(zone, t).date()
    for day in (here - timedelta(days=1), here, here + timedelta(days=1)):
        start, end = midnight(zone, day), midnight(zone, day + timedelta(days=1))
        if start <= t < end:
            return start, end
    raise AssertionError(f"no day of {zone} holds {t}")


def local_period(zone: ZoneInfo, grain: str, t: int) -> Window:
    """The calendar week, from Monday, or month that holds t."""
    day = local(zone, local_day(zone, t)[0]).date()
    if grain == "week":
        first = day - timedelta(days=day.weekday())
        return midnight(zone, first), midnight(zone, first + timedelta(days=7))
    first = day.replace(day=1)
    after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return midnight(zone, first), midnight(zone, after)


@cache
def midnight(zone: ZoneInfo, day: date) -> int:
    """The first instant of a local date; of a date the zone skips, the first instant after it."""
    start = instant(datetime.combine(day, time(), zone))
    if local(zone, start).time() != time():  # clocks jumped over this midnight: the jump is the first instant
        while offset_at(zone, start - 1) == offset_at(zone, start):
            start -= SECOND
    return start


def local(zone: ZoneInfo, t: int) -> datetime:
    """The local time at an instant."""
    return (EPOCH + timedelta(microseconds=t)).astimezone(zone)


def offset_at(zone: ZoneInfo, t: int) -> int:
    """Local time minus UTC at an instant, in microseconds."""
    return instant(local(zone, t).replace(tzinfo=UTC)) - t


def instant(moment: datetime) -> int:
    """Microseconds since the epoch; with fold 0 a doubled time is the earlier, a skipped one has the offset before."""
    return (moment - EPOCH) // timedelta(microseconds=1)


# Values


def sli_value(world: World, sli: str, pairs: list[Pair]) -> float:
    """The value of an SLI over at least one pair."""
    kind, _, percent = sli.rpartition("_")
    scores = [pair.score for pair in pairs if pair.score is not None]
    if sli == "count":
        return float(len(pairs))
    if sli == "null_rate":
        return (len(pairs) - len(scores)) / len(pairs)
    if kind == "feedback_delay":
        delays = [pair.delay for pair in pairs if pair.delay is not None]
        return quantile(delays, int(percent) / 100, "no labelled predictions")
    if kind == "quantile":
        return quantile(scores, int(percent) / 100, "no values")
    if sli == "mean":
        return ratio(math.fsum(scores), len(scores), "no values")
    if sli == "prediction_rate" and world.task == "binary":
        return ratio(sum(1 for score in scores if score >= world.threshold), len(scores), "no values")
    used = [(pair.score, pair.label) for pair in pairs if pair.score is not None and pair.label is not None]
    if not used:
        raise Undefined("no labelled predictions")
    return binary_value(sli, used, world.threshold) if world.task == "binary" else regression_value(sli, used)


def binary_value(sli: str, used: list[tuple[float, float]], threshold: float) -> float:
    """The value of a binary SLI that looks at (score, label)."""
    tp = sum(1 for score, label in used if score >= threshold and label == 1)
    fp = sum(1 for score, label in used if score >= threshold and label == 0)
    tn = sum(1 for score, label in used if score < threshold and label == 0)
    fn = sum(1 for score, label in used if score < threshold and label == 1)
    counts = {"true_positives": tp, "false_positives": fp, "true_negatives": tn, "false_negatives": fn}
    ratios = {
        "accuracy": (tp + tn, len(used), ""),
        "positive_rate": (tp + fn, len(used), ""),
        "precision": (tp, tp + fp, "no positive decisions"),
        "recall": (tp, tp + fn, "no positive labels"),
        "specificity": (tn, tn + fp, "no negative labels"),
        "f1": (2 * tp, 2 * tp + fp + fn, "no positive labels or decisions"),
    }
    if sli in counts:
        return float(counts[sli])
    if sli in ratios:
        return ratio(*ratios[sli])
    if sli == "brier":
        return math.fsum((score - label) ** 2 for score, label in used) / len(used)
    if sli == "log_loss":
        clipped = [(min(max(score, EPS), 1 - EPS), label) for score, label in used]
        return math.fsum(-math.log(p if label == 1 else 1 - p) for p, label in clipped) / len(used)
    if sli == "roc_auc":
        return roc_auc([s for s, label in used if label == 1], sorted(s for s, label in used if label == 0))
    raise ValueError(f"no SLI {sli!r} of binary models")


def roc_auc(positives: list[float], negatives: list[float]) -> float:
    """Share of (positive, negative) pairs in which the positive scores higher, a tie being half; negatives sorted."""
    halves = sum(bisect_left(negatives, score) + bisect_right(negatives, score) for score in positives)
    return ratio(halves, 2 * len(positives) * len(negatives), "only one class")


def regression_value(sli: str, used: list[tuple[float, float]]) -> float:
    """The value of a regression SLI that looks at (prediction, label)."""
    errors = [prediction - label for prediction, label in used]
    mse = math.fsum(error**2 for error in errors) / len(used)
    if sli == "mae":
        return math.fsum(abs(error) for error in errors) / len(used)
    if sli == "bias":
        return math.fsum(errors) / len(used)
    if sli in ("mse", "rmse"):
        return mse if sli == "mse" else math.sqrt(mse)
    if sli != "r2":
        raise ValueError(f"no SLI {sli!r} of regression models")
    labels = [label for _, label in used]
    if min(labels) == max(labels):
        raise Undefined("labels do not vary")
    mean = math.fsum(labels) / len(labels)
    return 1 - mse * len(used) / math.fsum((label - mean) ** 2 for label in labels)


def quantile(values: list[float], q: float, reason: str) -> float:
    """The q-quantile with linear interpolation between neighbours."""
    if not values:
        raise Undefined(reason)
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def ratio(part: float, whole: float, reason: str) -> float:
    """part / whole, undefined for the reason if whole is 0."""
    if whole == 0:
        raise Undefined(reason)
    return part / whole
