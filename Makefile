# Needs Python 3.11 or newer, make and a package registry; everything else lands in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Its own environment: grpcio-tools needs an older protobuf than the rest, and what it generates loads under both.
PROTO_TOOLS := grpcio-tools==1.76.0
PROTO_VENV := .venv-proto
PROTO_READY := $(PROTO_VENV)/.ready-$(PROTO_TOOLS)

.DEFAULT_GOAL := help
.PHONY: help demo test check format proto bench load lock clean

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

demo: $(READY) ## Train, calibrate, export, score and serve on a real table; results in anomaly-vae-demo/
	$(BIN)/anomaly-vae demo --overwrite

test: $(READY) ## Run the tests
	$(BIN)/python -m pytest -n auto

check: $(READY) $(PROTO_READY) ## Lint, formatting, types, import rules, protos and their code, Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto
	built=$$(mktemp -d) && proto/generate.sh $(CURDIR)/$(PROTO_VENV)/bin/python $$built && \
		diff -ru --exclude=__init__.py --exclude=__pycache__ anomaly_vae/service/pb $$built; \
		status=$$?; rm -rf $$built; exit $$status
	# The service runs with protobuf 7 here; other libraries of a user's may want 6, which this environment has.
	$(PROTO_VENV)/bin/python -W error -c "from anomaly_vae.service.pb import scoring_pb2_grpc"
	$(BIN)/hadolint deploy/Dockerfile

format: $(READY) ## Rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(PROTO_READY) ## Generate anomaly_vae/service/pb anew from proto/
	proto/generate.sh $(CURDIR)/$(PROTO_VENV)/bin/python $(CURDIR)/anomaly_vae/service/pb

bench: $(READY) ## Run the benchmarks; tables and JSON in bench/
	mkdir -p bench
	$(BIN)/python -m tests.benchmarks.run --out bench

load: $(READY) ## Overload the service, then soak it for ten minutes; fails where a promise is broken
	$(BIN)/python -m tests.load.overload
	$(BIN)/python -m tests.load.soak

lock: ## Resolve requirements.lock anew from pyproject.toml
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet "torch==2.13.0" ".[all,dev]"
	$(VENV)-lock/bin/python -m pip freeze --exclude anomaly_vae | sed 's/+cpu$$//' > requirements.lock
	rm -rf $(VENV)-lock

clean: ## Remove the environment and everything built
	rm -rf $(VENV) $(PROTO_VENV) build *.egg-info anomaly-vae-demo bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11; run make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)

$(PROTO_READY):
	rm -rf $(PROTO_VENV)
	$(PYTHON) -m venv $(PROTO_VENV)
	$(PROTO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(PROTO_TOOLS)"
	touch "$@"
