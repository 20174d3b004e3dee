# Everything from nothing but Python >= 3.10 and make. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN := $(BIN)/python -m brats_ablate

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check format bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(INSTALLED) ## virtual environment with the tested versions

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "brats-ablate needs Python 3.10 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## the whole study on made brains: two experiments, five folds, a table
	$(RUN) data=phantom job=prepare
	$(RUN) -cd sweeps -cn demo
	$(RUN) data=phantom job=tables job.tables='[demo]'

test: $(INSTALLED) ## the fast suite
	$(BIN)/python -m pytest -n auto

test-slow: $(INSTALLED) ## minutes of work: training, resuming, DDP, SLURM and real cases where they are in reach
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## measure against the peers, side by side; writes docs/speed.md
	$(BIN)/python benchmarks/run.py

clean: ## remove the environment and the caches; results stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
