# Two commands do everything on a fresh machine with python3.11: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test check format lock bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/sli demo

test: install
	$(BIN)/pytest

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What the image of docker-compose.yml installs, to the version.
lock: install
	$(BIN)/pip install --quiet --dry-run --ignore-installed --report .lock.json '.[prefect]'
	$(BIN)/python -c "import json; print(*sorted(f'{i[\"metadata\"][\"name\"]}=={i[\"metadata\"][\"version\"]}' \
	  for i in json.load(open('.lock.json'))['install'] if i['metadata']['name'] != 'sli'), sep='\n')" > configs/constraints.txt
	rm .lock.json

bench: install
	$(BIN)/python tests/bench/full.py
	$(BIN)/python tests/bench/scheduled.py
	$(BIN)/python tests/bench/catalogue.py

clean:
	rm -rf $(VENV) demo-flights demo-taxi
