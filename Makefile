# Needs only make and Python >= 3.11. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN := $(BIN)/python -m brats_ablate
SLOW := $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=20

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-long check format pictures docs bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(INSTALLED) ## create .venv with the tested versions of all dependencies

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "brats-ablate needs Python 3.11 or newer; choose one with PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## run a whole study on synthetic phantoms: three networks, five folds, verdicts, a report
	$(RUN) data=phantom job=prepare
	$(RUN) -cd sweeps -cn demo hydra/launcher=submitit_local hydra.launcher.max_parallel=2
	$(RUN) data=phantom job=report job.tables='[demo]'

test: $(INSTALLED) ## run the fast tests
	$(BIN)/python -m pytest -n auto

test-slow: $(INSTALLED) ## run the slow tests: training, resuming, kills, whole commands, the report in a browser
	$(SLOW) -m 'slow and not long'

test-long: $(INSTALLED) ## run the longest tests: studies, several ranks, documents, and SLURM and real cases if available
	$(SLOW) -m long

check: $(INSTALLED) ## check style, docstrings, types and layers (ruff, mypy, import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(INSTALLED) ## apply ruff fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pictures: demo ## draw the picture of the README from the demo's report (needs Chromium)
	$(BIN)/python docs/site/report_picture.py work/phantom/tables/report.html docs/images/report.png

docs: $(INSTALLED) ## build the documentation site; writes site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(INSTALLED) ## compare the speed with nnU-Net v2, MONAI and others; writes docs/speed.md
	$(BIN)/python benchmarks/run.py

clean: ## remove .venv and the caches; keep all results
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
