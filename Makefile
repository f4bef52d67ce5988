# Needs Python 3.11 or newer, make and a package registry. Everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# An environment for grpcio-tools, which needs an older protobuf. The code that it generates works with both versions.
PROTO_TOOLS := grpcio-tools==1.76.0
PROTO_VENV := .venv-proto
PROTO_READY := $(PROTO_VENV)/.ready-$(PROTO_TOOLS)
# An environment for Triton's clients: their protobuf symbols clash with ours. Tests run them in processes of their own.
TRITONCLIENT := tritonclient[grpc,http]==2.73.0
TRITONCLIENT_VENV := .venv-tritonclient
TRITONCLIENT_READY := $(TRITONCLIENT_VENV)/.ready-http-$(lastword $(subst ==, ,$(TRITONCLIENT)))
# An environment for KServe's client: `import kserve` also imports a web server and a Kubernetes client.
KSERVE := kserve==0.21.0
KSERVE_VENV := .venv-kserve
KSERVE_READY := $(KSERVE_VENV)/.ready-$(lastword $(subst ==, ,$(KSERVE)))
# An environment for moto, a server that behaves like Amazon S3: it needs an older python-dateutil. Its extra for the
# server names packages for every other service of Amazon as well.
MOTO := moto[s3]==5.2.5
MOTO_SERVER := flask==3.1.3 flask-cors==6.0.5
MOTO_VENV := .venv-moto
MOTO_READY := $(MOTO_VENV)/.ready-$(lastword $(subst ==, ,$(MOTO)))
# The packages of the service's image, installed by the scripts that the Dockerfile runs. The Python is the image's
# CPython version if this machine has it.
IMAGE_CPYTHON := $(shell sed -n 's/^FROM python:\([0-9]*\.[0-9]*\).*/\1/p' deploy/Dockerfile | head -n 1)
IMAGE_PYTHON ?= $(shell for python in python$(IMAGE_CPYTHON) \
	"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$(IMAGE_CPYTHON).*/bin/python$(IMAGE_CPYTHON) $(PYTHON); do \
	"$$python" -c "" 2> /dev/null && { echo "$$python"; break; }; done)
IMAGE_VENV := .venv-image
IMAGE_DEPENDENCIES := $(IMAGE_VENV)/.dependencies
IMAGE_READY := $(IMAGE_VENV)/.ready
# An environment for Spark, of about 500 MB. It can import the packages of .venv as well.
SPARK := pyspark==4.3.0
SPARK_VENV := .venv-spark
SPARK_READY := $(SPARK_VENV)/.ready-$(SPARK)
# Writes locks with hashes.
LOCKER := uv==0.13.9
# An environment for the tool that writes the bill of materials.
SBOM_TOOL := cyclonedx-bom==7.5.0
SBOM_VENV := .venv-sbom
SBOM_READY := $(SBOM_VENV)/.ready-$(SBOM_TOOL)
# An environment for the fuzzer atheris. It can import the packages of .venv as well.
FUZZER := atheris==3.0.0
FUZZ_VENV := .venv-fuzz
FUZZ_READY := $(FUZZ_VENV)/.ready-$(FUZZER)
SECONDS := 60
FOUND := fuzz

.DEFAULT_GOAL := help
.PHONY: help demo test check format docs rules proto proto-release spark fuzz bench load lock sbom clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 15

demo: $(READY) ## Train, calibrate, export, score and serve on a real table; results in anomaly-vae-demo/
	$(BIN)/anomaly-vae demo --overwrite

test: $(READY) $(TRITONCLIENT_READY) $(KSERVE_READY) $(MOTO_READY) $(IMAGE_READY) $(SBOM_READY) ## Run the tests
	# One worker more than cores: a quarter of the tests' time is waiting. Measured on 2 cores: 780 s with 3.
	# Modules are compiled first: where Python may not write bytecode, each of the many processes would compile them.
	$(BIN)/python -m compileall -q anomaly_vae
	# Chunks of tests are small: a worker that is given a quarter of its share at once may get all slow ones.
	$(BIN)/python -m pytest -n $$(( $$(nproc) + 1 )) --maxschedchunk 64

check: $(READY) $(PROTO_READY) ## Lint, formatting, types, import rules, protos and their code, Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto
	# Compare with the released protos. They are kept in a file, because a shallow clone has no other commit.
	$(BIN)/buf breaking proto --against proto/baseline.binpb
	built=$$(mktemp -d) && proto/generate.sh $(CURDIR)/$(PROTO_VENV)/bin/python $$built && \
		diff -ru --exclude=__init__.py --exclude=__pycache__ anomaly_vae/service/pb $$built; \
		status=$$?; rm -rf $$built; exit $$status
	# Users may have protobuf 6, which this environment has. .venv has protobuf 7.
	$(PROTO_VENV)/bin/python -W error -c "from anomaly_vae.service.pb import inference_pb2_grpc, scoring_pb2_grpc"
	$(BIN)/hadolint deploy/Dockerfile

format: $(READY) ## Rewrite the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## Rewrite docs/options.md from the command line and VAEDetector
	$(BIN)/python -m tests.support.option_tables

rules: $(READY) ## Rewrite what is generated in deploy/: the PrometheusRule and the dashboard
	$(BIN)/python -m tests.support.prometheus_rule
	$(BIN)/python -m tests.support.dashboard

proto: $(PROTO_READY) ## Generate anomaly_vae/service/pb from proto/
	proto/generate.sh $(CURDIR)/$(PROTO_VENV)/bin/python $(CURDIR)/anomaly_vae/service/pb

proto-release: $(READY) ## Record proto/ as released: later changes must stay compatible with it
	$(BIN)/buf breaking proto --against proto/baseline.binpb
	$(BIN)/buf build proto --exclude-source-info --output proto/baseline.binpb

spark: $(SPARK_READY) ## Run the examples of docs/spark.md on Spark, which needs Java 17 or newer
	@test -n "$$JAVA_HOME" || command -v java > /dev/null || \
		{ echo "no java: install Java 17 or newer, such as default-jre-headless, or set JAVA_HOME" >&2; exit 1; }
	$(SPARK_VENV)/bin/python -m pytest tests/docs/test_spark.py

fuzz: $(FUZZ_READY) ## Fuzz requests and bundles, SECONDS=60 each; inputs that crash are saved in fuzz/
	for target in requests bundle; do \
		mkdir -p $(FOUND)/$$target && $(FUZZ_VENV)/bin/python -m tests.fuzz.fuzz_$$target $(FOUND)/$$target \
			-artifact_prefix=$(FOUND)/$$target- -max_total_time=$(SECONDS) -max_len=65536 -timeout=100 \
			-rss_limit_mb=4096 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

bench: $(READY) ## Run the benchmarks; tables and JSON in bench/
	mkdir -p bench
	# Tables for the benchmark errors. If this fails, that benchmark is left out.
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/benchmarks/data.txt
	$(BIN)/python -m tests.benchmarks.run --out bench

load: $(READY) ## Load tests: overload, fairness, restarts, reloads, deaths, bad bundles, faults in batch jobs, soak; fails if the service breaks a promise
	$(BIN)/python -m tests.load.overload; status=$$?; \
		$(BIN)/python -m tests.load.fairness --seconds 30 || status=$$?; \
		$(BIN)/python -m tests.load.restarts --cycles 20 || status=$$?; \
		$(BIN)/python -m tests.load.rolling || status=$$?; \
		$(BIN)/python -m tests.load.reloads || status=$$?; \
		$(BIN)/python -m tests.load.workers || status=$$?; \
		$(BIN)/python -m tests.load.deaths || status=$$?; \
		$(BIN)/python -m tests.load.drops || status=$$?; \
		$(BIN)/python -m tests.load.faults || status=$$?; \
		$(BIN)/python -m tests.load.soak && exit $$status

lock: ## Resolve pyproject.toml into requirements.lock, and that into the locks of the image
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet "torch==2.13.0" ".[all,dev]"
	$(VENV)-lock/bin/python -m pip freeze --exclude anomaly_vae | sed 's/+cpu$$//' > requirements.lock
	$(VENV)-lock/bin/python -m pip install --quiet "$(LOCKER)"
	$(call lock_with_hashes,deploy/requirements.in,deploy/requirements.lock,--constraints requirements.lock)
	sed -n 's/^requires = \["\(setuptools[^"]*\)"\]/\1/p' pyproject.toml > $(VENV)-lock/build.in
	$(call lock_with_hashes,$(VENV)-lock/build.in,deploy/build.lock)
	rm -rf $(VENV)-lock
	$(MAKE) sbom

# Lock only the packages named in the input, with the hashes of all their files: for every architecture and CPython.
define lock_with_hashes
UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)-lock/bin/uv pip compile --quiet --no-config --upgrade --no-deps \
	--generate-hashes --no-annotate --only-binary :all: --python-version $(IMAGE_CPYTHON) $(3) --output-file $(2) $(1)
endef

sbom: $(SBOM_READY) ## Write deploy/sbom.cdx.json, the packages and the base image of the image, from its lock
	$(SBOM_VENV)/bin/python deploy/make_sbom.py > deploy/sbom.part && mv deploy/sbom.part deploy/sbom.cdx.json

clean: ## Remove the environment and everything built
	rm -rf $(VENV) $(PROTO_VENV) $(TRITONCLIENT_VENV) $(KSERVE_VENV) $(MOTO_VENV) $(IMAGE_VENV) $(SBOM_VENV) $(SPARK_VENV) $(FUZZ_VENV) $(FOUND) build *.egg-info anomaly-vae-demo bench .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

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

# If this fails, the other tests still run. Tests that need it are skipped, and fail in CI.
$(TRITONCLIENT_READY):
	rm -rf $(TRITONCLIENT_VENV)
	-$(PYTHON) -m venv $(TRITONCLIENT_VENV) && \
		$(TRITONCLIENT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(TRITONCLIENT)" && \
		touch "$@"

$(KSERVE_READY):
	rm -rf $(KSERVE_VENV)
	-$(PYTHON) -m venv $(KSERVE_VENV) && \
		$(KSERVE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(KSERVE)" && \
		touch "$@"

$(SBOM_READY):
	rm -rf $(SBOM_VENV)
	-$(PYTHON) -m venv $(SBOM_VENV) && \
		$(SBOM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(SBOM_TOOL)" && \
		touch "$@"

$(MOTO_READY):
	rm -rf $(MOTO_VENV)
	-$(PYTHON) -m venv $(MOTO_VENV) && \
		$(MOTO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(MOTO)" $(MOTO_SERVER) && \
		touch "$@"

# If this fails, tests that need it are skipped, and fail in CI.
$(IMAGE_DEPENDENCIES): deploy/install_dependencies.sh deploy/requirements.lock
	-deploy/install_dependencies.sh "$(IMAGE_PYTHON)" $(IMAGE_VENV) && touch $@

$(IMAGE_READY): $(IMAGE_DEPENDENCIES) deploy/install_package.sh deploy/build.lock pyproject.toml $(shell find anomaly_vae -name "*.py" -o -name "*.typed")
	-deploy/install_package.sh "$(IMAGE_PYTHON)" $(IMAGE_VENV) && touch $@

# Lets the environment of its argument import the packages of .venv too.
define see_project
$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(\"%s\")" % sysconfig.get_path("purelib"))' \
	> $$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth
endef

$(SPARK_READY): $(READY)
	rm -rf $(SPARK_VENV)
	$(BIN)/python -m venv $(SPARK_VENV)
	$(SPARK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(SPARK)"
	$(call see_project,$(SPARK_VENV))
	touch "$@"

$(FUZZ_READY): $(READY)
	rm -rf $(FUZZ_VENV)
	$(BIN)/python -m venv $(FUZZ_VENV)
	$(FUZZ_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(FUZZER)"
	$(call see_project,$(FUZZ_VENV))
	touch "$@"
