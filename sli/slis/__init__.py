"""SLIs: what they are, the built-in ones, and those that users write; importing this package registers the catalogue.

It may import `calendar`, `engine` and the modules at the root, and must not know a config, a log or a table: a config
entry comes as a mapping, pairs come as merged states or as a frame.

- `states`: the aggregates that a tile keeps, and what an SLI sees after merging; `kinds`: one module for each kind
- `formula`: an SLI's states, value, range and objective; the registry of the catalogue
- `maths`: intervals, also of differences, curves, distances, quantiles and moments that several SLIs share
- `outcomes`: the state that every tile keeps, whichever SLIs are declared
- `terms`: what each pair adds to the states of an SLI; `paired`: two sides compared by the requests that both scored
- `catalogue`: the built-in SLIs
- `custom`: SLIs that users write in SQL or Python
"""

from __future__ import annotations

import importlib
import pkgutil

from sli.slis import catalogue
from sli.slis.formula import CATALOGUE, TASKS, Entry, Formula, Reference, Sli, entries
from sli.slis.states import State

__all__ = ["CATALOGUE", "TASKS", "Entry", "Formula", "Reference", "Sli", "State", "entries"]

for _module in pkgutil.iter_modules(catalogue.__path__):
    importlib.import_module(f"sli.slis.catalogue.{_module.name}")
