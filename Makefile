# MedM-PLM from a terminal. `make` alone lists what there is.
#
# PYTHON       interpreter to make the environment with: 3.11, 3.12 or 3.13
# VENV         folder of the environment
# CONSTRAINTS  exact versions; constraints-minimum.txt has the oldest ones that work
# TORCH_INDEX  further package index for torch, if the CPU build lies elsewhere
# DEMO_OUTPUT  folder the demo writes to; replaced
# PYTEST_ARGS  more words for pytest
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
TORCH_INDEX ?=
DEMO_OUTPUT ?= demo-output
PYTEST_ARGS ?=
WORKERS ?= 2

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CACHE := .cache
PIP := $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS)

.PHONY: help venv install demo demo-smoke test hub-test conformance style quality

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 24

venv: $(BIN)/python ## make the virtual environment

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13; name one with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

install: $(INSTALLED) ## install the package, editable, with everything pinned

# torch goes first and alone, so that no later step replaces the build that was chosen.
$(INSTALLED): $(BIN)/python setup.py $(CONSTRAINTS)
	$(PIP) torch $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(PIP) --editable ".[dev]"
	@touch $@

demo: install ## invented patients -> pre-training -> three tasks -> one table -> model opened again
	PYTHON=$(abspath $(BIN)/python) scripts/demo.sh demo 1500 $(DEMO_OUTPUT)

demo-smoke: install ## the same in its smallest size
	PYTHON=$(abspath $(BIN)/python) scripts/demo.sh smoke 200 $(DEMO_OUTPUT)

test: install ## the tests
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

hub-test: install ## publishing and loading through a model hub on this machine, and the count of refused cases
	$(BIN)/python -m pytest -m hub tests/publishing $(PYTEST_ARGS)

conformance: install ## the library's own common suites, on our classes
	TRANSFORMERS_TESTS=$$($(BIN)/python scripts/fetch_suites.py $(CACHE)) \
		$(BIN)/python -m pytest -n $(WORKERS) tests/conformance $(PYTEST_ARGS)

style: install ## put the code into shape
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

quality: install ## check the shape without changing anything
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m compileall -q *.py medm_plm demo scripts benchmarks tests
