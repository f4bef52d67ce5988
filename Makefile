# Needs Python 3.11 or newer, make and a package registry; everything else lands in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench lock clean

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

demo: $(READY) ## Train, calibrate, export, load and score on a real table; results in anomaly-vae-demo/
	$(BIN)/anomaly-vae demo --overwrite

test: $(READY) ## Run the tests
	$(BIN)/python -m pytest -n auto

check: $(READY) ## Lint, formatting, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY) ## Rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Run the benchmarks; tables and JSON in bench/
	mkdir -p bench
	$(BIN)/python -m tests.benchmarks.run --out bench

lock: ## Resolve requirements.lock anew from pyproject.toml
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet "torch==2.13.0" ".[all,dev]"
	$(VENV)-lock/bin/python -m pip freeze --exclude anomaly_vae | sed 's/+cpu$$//' > requirements.lock
	rm -rf $(VENV)-lock

clean: ## Remove the environment and everything built
	rm -rf $(VENV) build *.egg-info anomaly-vae-demo bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11; run make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)
