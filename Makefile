# Each target does its own set-up: a virtual environment with hash-locked dependencies.
export BENTOML_DO_NOT_TRACK = True
export ORT_DISABLE_TELEMETRY = 1
export HF_HUB_DISABLE_TELEMETRY = 1
export MLFLOW_DISABLE_TELEMETRY = true
export WANDB_ERROR_REPORTING = false
# Servers and tests start many processes, and without kept bytecode each would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

PORT ?= 3000
# Other machines reach the service only if told so, as with HOST=0.0.0.0.
HOST ?= 127.0.0.1
# Seconds that accepted requests have after SIGTERM; a little more than the service's own deadline.
GRACE ?= 35
RECIPE ?= configs/mnist_hard.yaml
BUNDLE ?= models/mnist
DATA ?= mnist:test
PYTHON ?= python3

ALL := .venv/all
# What runs the models: NVIDIA's onnxruntime with CUDA on a machine with its driver, 2.8 GB, else the plain one.
RUNTIME ?= $(if $(wildcard /dev/nvidiactl),gpu,cpu)
SERVING := .venv/serving-$(RUNTIME)
# One test process per core; the tests of a file share its server or trained run, and so a process.
PYTEST := OMP_NUM_THREADS=1 $(ALL)/bin/pytest --numprocesses auto --dist loadfile
UV := .venv/uv/bin/uv
PEERS := .venv/peers/litserve .venv/peers/mlserver .venv/peers/ray
LOCK := $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url \
	--custom-compile-command "make lock"
UNCHECKED = echo "$(1) is not here, so what it reads of deploy/ goes unchecked; Debian has it in the package $(2)"

.PHONY: help setup serve test test-quick test-slow check check-monitoring docs train evaluate bench bench-serving bench-clustering bench-review image docker-test sbom lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(ALL)/.installed  ## install everything, 8 GB; the commands are in .venv/all/bin
	@echo "The commands are in $(ALL)/bin; for this shell: export PATH=\"$(CURDIR)/$(ALL)/bin:\$$PATH\""

serve: $(SERVING)/.installed  ## serve predictions on PORT (3000) of HOST (127.0.0.1)
	$(SERVING)/bin/bentoml serve --host $(HOST) --port $(PORT) --timeout-graceful-shutdown $(GRACE)

test: $(ALL)/.installed  ## run all tests but the few that take minutes
	$(PYTEST) -m "not slow"

test-quick: $(ALL)/.installed  ## run the tests that need no server, no other process and no long training
	$(PYTEST) -m "not slow and not heavy"

test-slow: $(ALL)/.installed  ## run the tests that take minutes
	$(ALL)/bin/pytest -m slow

check: $(ALL)/.installed check-monitoring  ## lint, formatting, types, direction of imports, Dockerfile, monitoring
	$(ALL)/bin/ruff format --check .
	$(ALL)/bin/ruff check .
	$(ALL)/bin/mypy
	$(ALL)/bin/lint-imports
	$(ALL)/bin/hadolint Dockerfile

check-monitoring:  ## Prometheus' rules and their tests, Alertmanager's routes
	@if ! command -v promtool >/dev/null; then $(call UNCHECKED,promtool,prometheus); \
	else promtool check config --lint-fatal deploy/prometheus/prometheus.yaml \
		&& promtool test rules deploy/prometheus/tests/*.yaml; fi
	@if ! command -v amtool >/dev/null; then $(call UNCHECKED,amtool,prometheus-alertmanager); \
	else amtool check-config deploy/alertmanager/alertmanager.yaml; fi

docs: $(ALL)/.installed  ## build the documentation in build/site, and let no warning pass
	$(ALL)/bin/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs build/site
	@echo "The documentation: $(CURDIR)/build/site/index.html"

train: $(ALL)/.installed  ## train RECIPE
	$(ALL)/bin/clustnet train $(RECIPE)

evaluate: $(ALL)/.installed  ## score BUNDLE on DATA into reports/
	$(ALL)/bin/clustnet evaluate --bundle $(BUNDLE) --data $(DATA) --out reports/$(notdir $(BUNDLE))

bench: $(ALL)/.installed  ## measure inference beside its peers
	$(ALL)/bin/python -m benchmarks.inference --bundle $(BUNDLE)

bench-serving: $(ALL)/.installed $(PEERS)  ## measure the service beside its peers (needs h2load)
	$(ALL)/bin/python -m benchmarks.serving --bundle $(BUNDLE)

bench-clustering: $(ALL)/.installed .venv/peers/clustpy  ## measure deep clustering beside its peers
	$(ALL)/bin/python -m benchmarks.deep_clustering

bench-review: $(ALL)/.installed  ## measure the review's page with many images (needs Chromium)
	$(ALL)/bin/python -m benchmarks.review --images 20000

image: $(SERVING)/.installed  ## build the image clustnet:RUNTIME (cpu or gpu) with its labels
	$(SERVING)/bin/python -m deploy.image.build --runtime $(RUNTIME)

docker-test: $(SERVING)/.installed  ## build the cpu image and try it in a real container
	$(SERVING)/bin/python -m deploy.image.docker_test

sbom: $(ALL)/.installed  ## list the image's packages in reports/sbom-RUNTIME.json (CycloneDX)
	$(ALL)/bin/python -m deploy.image.sbom --runtime $(RUNTIME) --out reports/sbom-$(RUNTIME).json

lock: $(UV)  ## lock the newest dependencies that pyproject.toml allows
	$(LOCK) --upgrade pyproject.toml --extra serving --extra signing --extra cpu --output-file requirements/serving-cpu.txt
	$(LOCK) --upgrade pyproject.toml --extra serving --extra signing --extra gpu --output-file requirements/serving-gpu.txt
	$(LOCK) --upgrade pyproject.toml --extra dev --output-file requirements/all.txt

clean:  ## remove environments, caches, runs and reports
	rm -rf .venv runs reports build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(UV): requirements/uv.txt
	@echo "Once: .venv/uv gets uv, which installs the rest ..."
	$(PYTHON) -m venv .venv/uv
	.venv/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	touch $@

.venv/peers/%: benchmarks/peers/%.txt | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) $@
	$(UV) pip install --quiet --python $@ -r $<
	touch $@

$(SERVING)/.installed: requirements/serving-$(RUNTIME).txt | $(UV)
	@echo "Once: $(SERVING) gets what serving needs, $(if $(filter gpu,$(RUNTIME)),2.8 GB,240 MB) ..."
	$(UV) venv --quiet --clear --python $(PYTHON) $(SERVING)
	$(UV) pip sync --require-hashes --python $(SERVING) requirements/serving-$(RUNTIME).txt
	touch $@

$(ALL)/.installed: requirements/all.txt pyproject.toml | $(UV)
	@echo "Once: $(ALL) gets everything, 8 GB, which takes minutes ..."
	$(UV) venv --quiet --clear --python $(PYTHON) $(ALL)
	$(UV) pip sync --require-hashes --compile-bytecode --python $(ALL) requirements/all.txt
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(ALL) --editable .
	touch $@
