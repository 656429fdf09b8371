"""What twins share: the pairs an SLI looks at, and NaN where it is undefined."""

import math

nan = math.nan


def over(rows, function, undefined=lambda rows: rows.empty):
    """The function of the rows as a float; NaN where undefined."""
    return nan if undefined(rows) else float(function(rows))


_SEEN = {}


def usable_pairs(d):
    """The usable pairs of a frame.

    The rows of a window are the same frame for every SLI: they are chosen once. The frame is kept with them, since only
    a living frame has its id for itself.
    """
    if id(d) not in _SEEN:
        _SEEN[id(d)] = (d, d[d.usable])
    return _SEEN[id(d)][1]


def usable(function, undefined=lambda _: False):
    """A twin over the usable pairs."""
    return lambda d, **given: over(usable_pairs(d), lambda u: function(u, **given), lambda u: u.empty or undefined(u))


def classes(function, undefined=lambda *_: False):
    """A twin of labels and decisions as 0 and 1."""
    return usable(
        lambda u, **given: function(u.label.astype(int), u.decision.astype(int), **given),
        lambda u: undefined(u.label.astype(bool), u.decision.astype(bool)),
    )


def errors(function):
    """A twin of labels and predictions as floats."""
    return usable(lambda u, **given: function(u.label.astype(float), u.prediction.astype(float), **given))


def values(function, of="prediction"):
    """A twin of the values of a column that are not null, labelled or not."""
    return lambda d: over(d[of].dropna().astype(float), function)
