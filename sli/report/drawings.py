"""The small lines of the cards, as SVG that the server writes.

Limit: at most `POINTS` windows of a series, evenly spaced up to the newest; never a mean of several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

POINTS = 130
WIDTH, HEIGHT, MARGIN = 200.0, 34.0, 3.0
Floats = npt.NDArray[np.float64]


def sparkline(values: Floats, final: npt.NDArray[np.bool_], bound: float | None = None) -> Markup:
    """A line through the values, broken where there is none; what is not final is a line of its own.

    `bound` is that of the objective, a straight line. Empty if there are fewer than two values.
    """
    chosen = np.arange(len(values) - 1, -1, -max(1, -(-len(values) // POINTS)))[::-1]
    values, final = values[chosen], final[chosen]
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return Markup("")
    low, high = (float(end([*known, *([] if bound is None else [bound])])) for end in (np.min, np.max))
    x = np.linspace(MARGIN, WIDTH - MARGIN, len(values))

    def height(value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * ((value - low) / (high - low) if high > low else 0.5)

    y = [height(value) for value in values.tolist()]
    paths = [_path("objective", f"M0 {height(bound):.1f}H{WIDTH:g}")] if bound is not None else []
    # The provisional line begins at the last final window, so that the two join.
    first = int(np.argmin(final)) if not final.all() else len(final)
    paths.append(_path("line", _line(x[:first], y[:first])))
    paths.append(
        _path("line provisional", _line(x[max(0, first - 1) :], y[max(0, first - 1) :]) if first < len(y) else "")
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 {:g} {:g}" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(WIDTH, HEIGHT, Markup("").join(paths))


def _path(kind: str, line: str) -> Markup:
    return Markup('<path class="{}" d="{}"/>').format(kind, line) if line else Markup("")


def _line(x: Floats, y: Sequence[float]) -> str:
    """The commands of a line, broken at NaN."""

    def commands() -> Iterator[str]:
        drawing = False
        for across, down in zip(x.tolist(), y, strict=True):
            if down == down:
                yield f"{'L' if drawing else 'M'}{across:.1f} {down:.1f}"
            drawing = down == down

    return "".join(commands())
