"""Judgements, computed once for the page, the terminal, `sli explain`, the index of models and the flows.

May import `reading` and the wings below it, but not `runs`; writes nothing.

- `sides`: an SLI in one window, and its change from one window to another, each with its interval
- `windows`: the windows that are compared: the last 7 days and the 7 days before
- `standing`: how good a model is now, whether that is as required, and what is in the way
- `explain`: whether a change is chance, late labels, bad data, or one slice; `findings`: its rules and words
- `since_when`: the first day from which an SLI is worse than before
- `compare`: slices ranked by how much worse than the whole they are
- `breaches`: which objectives are breached since a run
- `bad_data`: rows that did not count; `one_slice`: which slice a change comes from; `usual`: how much an SLI moves
"""
