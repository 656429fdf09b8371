"""A view without scripts: a form that chooses it, and its windows as a table.

Limit: the newest `ROWS` windows; the chart shows all.
"""

from __future__ import annotations

import gzip
import json

from sli.reading.figures import slice_name
from sli.reading.publication import Publication
from sli.report.contents import Contents
from sli.report.windows import window_rows
from sli.report.words import label_of
from sli.serve.views import View, sli_in, slice_in

ROWS = 100


def view_table(publication: Publication, contents: Contents, view: View, packed: bytes) -> dict[str, object]:
    """What the form offers and the table shows for a view, whose chunk is `packed`. Raises SliError."""
    names, name = [one.sli for one in contents.standing.slis], sli_in(publication.config, view)
    at = slice_in(view, contents.slices)
    chunk = json.loads(gzip.decompress(packed))
    unit = contents.standing.slis[names.index(name)].unit
    return {
        "view": view,
        "sli": name,
        "slice": slice_name(dict(contents.slices[at].values)),
        "slis": names,
        "slices": [slice_name(dict(one.values)) for one in contents.slices[:ROWS]],
        "grain": view.grain or contents.grains[contents.history.first_grain].name,
        "grains": [(grain.name, label_of(grain, publication.config)) for grain in contents.grains],
        "rows": window_rows(chunk, names.index(name), unit, contents.standing.timezone, ROWS),
    }
