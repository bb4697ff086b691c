# raysignal: `make run` shows the main job, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
ARGS ?=
N ?= 10000
EXTRAS := --extra agents --extra feeds --extra experiments --extra inference --extra openai --extra anthropic --extra ollama
ONLY ?=
comma := ,

# Bytecode is worth keeping: a service is a dozen processes, which would all compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup training run test long unit lint type sim validate image-check bench client lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.ready: requirements/dev.lock requirements/bootstrap.lock pyproject.toml
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@echo "installing the pinned dependencies into $(VENV) ..."
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.lock \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@echo "compiling what would be compiled at first use ..."
	@$(BIN)/python -m raysignal.engine.warm & engine=$$!; $(BIN)/python -m raysignal.agents.warm & agents=$$!; \
	  $(BIN)/python -c "import raysignal.serve.app" && wait $$engine && wait $$agents
	@touch $@

setup: $(VENV)/.ready ## install the pinned dependencies into .venv

$(VENV)/.training: requirements/training.lock $(VENV)/.ready
	@$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --require-hashes -r requirements/training.lock
	@touch $@

training: $(VENV)/.training ## install what `raysignal model train` and its tests need as well

run: setup ## the main job on embedded defaults, or on your own file: make run DATA=path ARGS="--day-first"
	@$(BIN)/python -m raysignal.cli run $(if $(DATA),"$(DATA)") $(ARGS)

test: training ## every test but the long schedules
	@$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not long" tests

long: training ## the long schedules: what `make test` proves in short, in full
	@$(BIN)/python -m pytest -n 3 --dist loadgroup -m long tests
	@$(BIN)/python -m pytest -n 3 --hypothesis-profile whole tests/property

unit: training ## the fast tests: no cluster, no server
	@$(BIN)/python -m pytest -n 2 --dist loadgroup --hypothesis-profile quick -m "not slow and not long" tests/unit tests/property

lint: setup ## ruff, format, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.support.names_lint
	@$(MAKE) --no-print-directory type

type: setup ## mypy strict
	@$(BIN)/mypy

sim: setup ## deterministic simulation of faults: make sim N=10000
	@$(BIN)/python -m tests.simulation --schedules $(N)

validate: setup ## does the instrument find what is there, and nothing where nothing is?
	@$(BIN)/python -m raysignal.experiments.validate

image-check: setup ## build the image, start it, and start a cluster of it; as root, with buildah
	@$(BIN)/python -m tests.image $(IMAGE_CHECK)

bench: setup ## every benchmark, each with its peer in the same run; parts with ONLY=http,feed
	@$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --require-hashes -r requirements/bench.lock
	@$(BIN)/python -m benchmarks $(if $(ONLY),$(subst $(comma), ,$(ONLY)),--markdown docs/benchmarks.md)

client: setup ## the program that makes typed clients, in an environment of its own; its test then runs
	@$(PYTHON) -m venv .venv-client
	@$(BIN)/uv pip sync --quiet --python .venv-client/bin/python --require-hashes requirements/client.lock

lock: setup ## resolve the dependencies again, with hashes and without an index address
	@for kind in "service:--extra agents --extra feeds --extra experiments --extra inference" \
	    "dev:$(EXTRAS) --extra test --extra lint" \
	    "training:-c requirements/dev.lock $(EXTRAS) --extra test --extra lint --extra training" \
	    "bench:-c requirements/dev.lock $(EXTRAS) --extra test --extra lint --extra peers"; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header \
	    --python-version 3.11 --python-platform linux $${kind#*:} \
	    pyproject.toml -o requirements/$${kind%%:*}.lock; done
	@# A peer that cannot live beside pandas 3: it gets an environment of its own.
	@echo "nautilus-trader==1.221.*" | $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_35 - -o requirements/nautilus.lock
	@# The typed client's generator wants an older typer.
	@echo "openapi-python-client==0.29.*" | $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url \
	  --no-header --python-version 3.11 --python-platform linux - -o requirements/client.lock

clean: ## remove what was made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis run
