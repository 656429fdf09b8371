"""The page: one self-contained HTML file that says how good a model is, and whether a change is real.

May import `judging` and the wings below it; not `command`. It computes no value: it shows what the tables hold and what
`judging` answers.

- `page`: a model's page, rendered and written; `files`: written so that no reader sees a part
- `index`: the pages of several models, and an index of them, worst first
- `contents`: what the page shows, from one publication (`rows`: its results); `words`: in words and numbers
- `choice`: which slices it shows over time; `history`: which series fit into the page
- `series`: published rows over time; `chunks`: their compact form
- `windows`: the newest windows and the outcomes as tables, for readers without scripts
- `changes`: what the last run changed; `drawings`: the lines of the cards
- `figure`: one SLI over time as a figure of matplotlib, for notebooks; `lines`: one slice of it
- `static`: templates, style and script, and the vendored D3 with its licence
"""
