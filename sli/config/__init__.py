"""What the user asks: the YAML file, read, checked and turned into one typed value that does not change.

Imports `slis` and the wings below it. Never reads a log, and of a store only its address.

- `document`: YAML text to plain data
- `tree`: a config as plain data, with environment variables, `--set` and paths
- `load`: a tree, checked and typed; the entry point
- `extends`: a config and the bases that it extends, as one tree
- `several`: the configs of files and folders, and what two of them must not share
- `sections`, `log_sections`: the mappings of a config and what is expected in each field
- `model`: the whole config, and the values that follow from it
- `checks`, `bins`: what must fit together across keys
- `entries`, `references`: the SLIs that `slis` declares, and what they are compared with
- `explain`: errors of pydantic in plain words
- `arguments`: instants and durations that public functions take as text
"""
