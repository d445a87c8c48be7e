# Everything here works on a machine that has Python 3.11 or newer with venv, and make. `make help` lists it.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# HOST and PORT count on the command line only: many shells export a HOST that means something else.
ADDRESS := $(if $(filter command line,$(origin HOST)),--host $(HOST)) $(if $(filter command line,$(origin PORT)),--port $(PORT))

# OpenMP threads that sleep at barriers instead of spinning: without it, two programs on the same cores starve each other.
export OMP_WAIT_POLICY ?= PASSIVE

# Bytecode is kept whatever the shell says: the tests start many processes, and pytest rewrites whole libraries.
unexport PYTHONDONTWRITEBYTECODE

# The longest one first, the others beside it.
CHECKS := check-types check-format check-lint check-imports check-security check-versions check-containers

.PHONY: help serve test soak check $(CHECKS) format train reproduce-small clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.installed-serve ## install and serve the checkpoints that ship with the package (PORT=9000, HOST=0.0.0.0)
	SEGSERVE_LOG_FORMAT=$${SEGSERVE_LOG_FORMAT:-text} $(BIN)/segserve serve $(ADDRESS)

test: $(VENV)/.installed-dev check ## install and run every check: those of make check, tests, coverage
	$(BIN)/pytest --numprocesses 2 --dist loadfile --cov --cov-report=term --cov-fail-under=90

soak: $(VENV)/.installed-dev ## the long tests, and ten minutes of mixed traffic whose memory is watched
	$(BIN)/pytest -m soak
	$(BIN)/python benchmarks/soak.py --minutes 10

check: $(VENV)/.installed-dev ## format, lint, types, import contracts, known vulnerabilities, what containers are given; no tests
	$(MAKE) --no-print-directory --jobs 2 $(CHECKS)

check-types:
	$(BIN)/mypy
	$(BIN)/mypy --strict docker/*.py docker/smoke/*.py docker/swarm/*.py

check-format:
	$(BIN)/ruff format --check .

check-lint:
	$(BIN)/ruff check .

check-imports:
	$(BIN)/lint-imports

check-security:
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml service model_zoo training

check-versions:
	$(BIN)/python .ci/audit.py constraints.txt

check-containers:
	docker/check.sh

format: $(VENV)/.installed-dev ## put the code into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: $(VENV)/.installed-train ## a small real training run on generated shapes, about two minutes
	$(BIN)/segtrain fit --recipe quick --out runs/quick --overwrite

reproduce-small: $(VENV)/.installed-train ## the story of docs/reproductions.md on generated shapes, under 10 minutes
	rm -rf runs/reproduce-small runs/reproduce-small.json
	$(BIN)/python -m benchmarks.reproductions --suite small --out runs/reproduce-small --results runs/reproduce-small.json

clean: ## remove what the other targets made, but for runs/
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "segserve needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-serve: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-train: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[train]'
	touch $@ $(VENV)/.installed-serve

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.installed-serve $(VENV)/.installed-train
