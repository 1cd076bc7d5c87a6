# Everything a developer or CI does is a target here; `make help` lists them.
# PYTHON names the interpreter that makes the virtual environment (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INPUTS := pyproject.toml constraints.txt

# Marks in the environment say what was installed from which state of pyproject.toml and constraints.txt.
RUN_STAMP := $(VENV)/.installed-run
TEST_STAMP := $(VENV)/.installed-test
DEV_STAMP := $(VENV)/.installed-dev
QUEUE_STAMPS := $(patsubst benchmarks/queues/%.txt,benchmarks/.venv/%/.installed,$(wildcard benchmarks/queues/*.txt))

SOURCES := cabrank balancer worker shared tests $(wildcard examples) $(wildcard benchmarks)
# Tests in parallel; those that drive real processes stay on one of them (tests/conftest.py).
JOBS ?= 2

# Options of the demo (make run ARGS='--exit --port 0 --worker-port 0') and of the benchmarks.
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install dev run test unit check style format types imports soak planted mutation bench clean

help: ## List the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

install: $(TEST_STAMP) ## Make the virtual environment with Cabrank and what its tests need

dev: $(DEV_STAMP) ## The same, with the linters and the type checker

run: $(RUN_STAMP) ## Start a balancer and two workers, run real tasks through them and stay up
	@$(BIN)/cabrank demo $(ARGS)

test: $(TEST_STAMP) ## Install what tests need and run every test
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --durations 5 --durations-min 1

unit: $(TEST_STAMP) ## Run the unit tests only
	@$(BIN)/python -m pytest -q -n $(JOBS) tests/unit

check: style types imports test ## Everything CI asks: style, types, imports, tests

style: $(DEV_STAMP) ## Check the style and the layout of the code
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

format: $(DEV_STAMP) ## Lay the code out and repair what can be repaired
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

types: $(DEV_STAMP) ## Check the types, strictly
	@$(BIN)/pyright

imports: $(TEST_STAMP) ## Check who may import whom
	@$(BIN)/lint-imports --no-logo

soak: $(TEST_STAMP) ## Run seeded worlds of 100 workers and 10,000 tasks in virtual time: MINUTES=10 SEED=1
	@$(BIN)/python -m tests.simulation.soak --minutes $(or $(MINUTES),10) $(addprefix --seed ,$(SEED))

planted: $(TEST_STAMP) ## Plant known bugs, one after another, and see that the simulation finds each
	@$(BIN)/python -m pytest -q -n $(JOBS) tests/simulation/planted.py

# It yields to everything else on the machine; MINUTES and SEED choose the sample.
mutation: $(TEST_STAMP) ## Plant small bugs in the cores and count those that unit tests notice: MINUTES=10 SEED=1
	@nice -n 19 $(BIN)/python -m tests.mutation --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) $(ARGS)

# Celery, Dramatiq, Taskiq and arq are compared with, each in an environment of its own: they want
# different versions of the same client. Nothing else needs them.
bench: $(TEST_STAMP) $(QUEUE_STAMPS) ## Measure what is claimed, side by side: make bench ARGS='--quick --only latency'
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove the virtual environment and every cache
	rm -rf $(VENV) benchmarks/.venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov build dist
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Cabrank needs Python 3.11 or newer; name one: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Each larger set contains the smaller ones, so its mark renews theirs.
$(RUN_STAMP): $(INPUTS) | $(BIN)/python
	@echo "Installing Cabrank into $(VENV) …"
	@$(PIP) install -e . -c constraints.txt
	@touch $@

$(TEST_STAMP): $(INPUTS) | $(BIN)/python
	@echo "Installing Cabrank and what its tests need into $(VENV) …"
	@$(PIP) install -e '.[test]' -c constraints.txt
	@touch $(RUN_STAMP) $@

$(DEV_STAMP): $(INPUTS) | $(BIN)/python
	@echo "Installing Cabrank, its tests and its tools into $(VENV) …"
	@$(PIP) install -e '.[test,dev]' -c constraints.txt
	@touch $(RUN_STAMP) $(TEST_STAMP) $@

benchmarks/.venv/%/.installed: benchmarks/queues/%.txt
	@echo "Installing $* into $(@D) …"
	@$(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip --disable-pip-version-check --quiet install -r $< \
		&& touch $@ || { rm -rf $(@D); echo "!!! $* could not be installed; the benchmarks go on without it !!!"; }
