# metasr: `make help` tells what there is.
PYTHON ?= python3
VENV ?= .venv
# The address of an index of torch wheels, for a CPU build or a particular CUDA version (PyTorch's installation page lists
# them); without it pip's own choice is taken.
TORCH_INDEX ?=

# Whether `make docs` runs the notebooks of the gallery.
EXECUTE ?= false

BIN := $(VENV)/bin
STAMP := $(VENV)/.metasr-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all fuzz lint type format bench docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml requirements-learn2learn.txt requirements-spandrel.txt
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON): set PYTHON=... to a Python of 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: set PYTHON=..."; exit 1; }
	@echo "installing into $(VENV) (a minute or two) ..."
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	$(if $(TORCH_INDEX),$(PIP) install --quiet --index-url $(TORCH_INDEX) 'torch>=2.6$(comma)<2.14')
	$(PIP) install --quiet --editable '.[dev]'
	$(PIP) install --quiet --no-deps --requirement requirements-learn2learn.txt
	$(PIP) install --quiet --no-deps --requirement requirements-spandrel.txt
	@touch $@

comma := ,

setup: $(STAMP)  ## make .venv and install everything

run: $(STAMP)  ## train and evaluate MZSR x2 with the quick profile (a few minutes)
	$(BIN)/python src/run.py +experiment=mzsr_x2

test: $(STAMP)  ## the fast tests
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto

test-all: $(STAMP)  ## all tests
	$(BIN)/python -m pytest --numprocesses auto

fuzz: $(STAMP)  ## bad images, kernels, names, weights and choices: all of them (minutes)
	$(BIN)/python tests/fuzz/run.py

lint: $(STAMP)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMP)  ## mypy
	$(BIN)/mypy

format: $(STAMP)  ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## build the site into site/ (EXECUTE=true runs its notebooks too, some minutes)
	DOCS_EXECUTE=$(EXECUTE) DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet

bench: $(STAMP)  ## measure speed and memory
	$(BIN)/python benchmarks/upscale.py

clean:  ## remove .venv and caches (outputs/ is kept)
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
