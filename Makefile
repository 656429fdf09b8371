# Two commands do everything on a fresh machine with python3.11: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

# Bytecode is kept: each process that a test starts would compile all of sli again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install programs demo test soak fuzz check format dist lock bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/sli demo

# Some tests need programs that no Python package has. Debian's are installed where that can be done without a question;
# its rule for new services is answered with "no" meanwhile, so that none is started.
BROWSER = $(shell command -v chromium chromium-browser google-chrome | head -1)
MISSING = $(if $(BROWSER),,chromium) $(shell for name in prometheus prometheus-node-exporter strace; do command -v $$name > /dev/null || echo $$name; done) $(if $(shell command -v psql),,postgresql-client)
POLICY := /usr/sbin/policy-rc.d

programs:
	@[ -z "$(strip $(MISSING))" ] || { command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	  { [ -e $(POLICY) ] || { trap 'rm -f $(POLICY)' EXIT && printf '#!/bin/sh\nexit 101\n' > $(POLICY) && chmod +x $(POLICY); }; } && \
	  apt-get install -qq --yes --no-install-recommends $(MISSING) > /dev/null; } || \
	  echo "Some tests are skipped. They need programs, for example: sudo apt-get install $(MISSING)"

# The same examples each time: `pytest` alone looks for new ones. Three workers for two cores, since many tests wait.
test: install programs
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --hypothesis-profile ci -m "not soak"

# What takes longer, run by hand: long simulations, backfills through a server, every window verified.
soak: install
	$(BIN)/pytest --numprocesses 2 --dist loadfile --hypothesis-profile ci -m soak

# New examples each time: random histories for SECONDS in PROCESSES processes, then bytes that nobody meant as footers,
# configs and SQL, a third of SECONDS each, then the other property tests with many more.
SECONDS ?= 1800
PROCESSES ?= $(shell getconf _NPROCESSORS_ONLN)

fuzz: install
	$(BIN)/python tests/fuzz.py --seconds $(SECONDS) --processes $(PROCESSES)
	$(BIN)/python tests/fuzz_inputs.py --seconds $$(($(SECONDS) / 3))
	$(BIN)/pytest --numprocesses $(PROCESSES) --hypothesis-profile fuzz -m "hypothesis and not soak"

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tests/audit.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The wheel and the source distribution, in dist/.
dist: install
	rm -rf dist
	$(BIN)/python -m build

# What the image of docker-compose.yml installs, to the version.
lock: install
	$(BIN)/pip install --quiet --dry-run --ignore-installed --report .lock.json '.[postgres,prefect,serve]'
	$(BIN)/python -c "import json; print(*sorted(f'{i[\"metadata\"][\"name\"]}=={i[\"metadata\"][\"version\"]}' \
	  for i in json.load(open('.lock.json'))['install'] if i['metadata']['name'] != 'sli-recompute'), sep='\n')" > configs/constraints.txt
	rm .lock.json

# Peers live in environments of their own; logs are kept in LOGS for the next time. Sizes by argument:
# `make bench SIZES="1000000 10000000 50000000" MEMORY="10000000 100000000"`.
SIZES ?= 1000000 10000000
READING ?= 8664 83439 161014 238974 359052 1000000 10000000
MEMORY ?= 10000000
WHOLE ?= 1000000 10000000
HOURLY ?= 20000 200000
SIZE ?= 10000000
LOGS ?= .bench-logs
ROUNDS ?= 3
PEERS := .venv-peers .venv-nannyml .venv-evidently

$(PEERS): .venv-%: tests/bench/%.txt
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --requirement $<
	touch $@

bench: install $(PEERS)
	mkdir -p $(LOGS)
	$(BIN)/python tests/bench/full.py --folder $(LOGS) --rounds $(ROUNDS) --predictions $(SIZES)
	$(BIN)/python tests/bench/hourly.py --folder $(LOGS) --rounds $(ROUNDS) --hourly 1000 --history 1 10 100 365 --late 7 30
	$(BIN)/python tests/bench/hourly.py --folder $(LOGS) --rounds $(ROUNDS) --hourly 20000 --history --late 7 30
	$(BIN)/python tests/bench/flat.py --folder $(LOGS) --hourly $(HOURLY)
	$(BIN)/python tests/bench/volume.py --folder $(LOGS) --rounds $(ROUNDS)
	$(BIN)/python tests/bench/reading.py --folder $(LOGS) --rounds $(ROUNDS) --predictions $(READING)
	$(BIN)/python tests/bench/memory.py --folder $(LOGS) --predictions $(MEMORY)
	$(BIN)/python tests/bench/scaling.py --folder $(LOGS) --rounds $(ROUNDS) --predictions $(SIZE)
	$(BIN)/python tests/bench/wide.py --folder $(LOGS)
	$(BIN)/python tests/bench/results.py --folder $(LOGS)
	$(BIN)/python tests/bench/results.py --folder $(LOGS) --grains 50 --workers 0 1 2
	$(BIN)/python tests/bench/functions.py --folder $(LOGS) --rounds $(ROUNDS)
	$(BIN)/python tests/bench/floors.py --folder $(LOGS)
	$(BIN)/python tests/bench/whole.py --folder $(LOGS) --rounds $(ROUNDS) --predictions $(WHOLE)
	$(BIN)/python tests/bench/fixed.py --folder $(LOGS)
	$(BIN)/python tests/bench/unattended.py
	$(BIN)/python tests/bench/on_s3.py --folder $(LOGS) --rounds $(ROUNDS)
	$(BIN)/python tests/bench/catalogue.py --folder $(LOGS) --rounds $(ROUNDS) --predictions $(SIZE)
	$(BIN)/python tests/bench/scheduled.py --folder $(LOGS) --rounds $(ROUNDS) --predictions $(SIZE)
	$(BIN)/python tests/bench/shapes.py --folder $(LOGS) --rounds $(ROUNDS) --predictions $(SIZE)
	$(BIN)/python tests/bench/differences.py
	$(BIN)/sli demo --folder $(LOGS)/demo
	$(BIN)/python tests/bench/since_when.py --config $(LOGS)/demo/flights.yaml
	.venv-peers/bin/python tests/bench/page.py

clean:
	rm -rf $(VENV) demo-flights demo-taxi
