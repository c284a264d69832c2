# Everything a developer runs. The first target that needs it makes .venv from requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLYTE := .venv-flyte
READY := $(VENV)/.ready
FLYTE_READY := $(FLYTE)/.ready
AUTOBAHN := .venv-autobahn
AUTOBAHN_TRIED := $(VENV)/.autobahn
ATHERIS := 3.0.0
MINUTES ?= 5
export PLANESPLIT_FLYTE ?= $(CURDIR)/$(FLYTE)/bin/flyte
export PLANESPLIT_AUTOBAHN ?= $(CURDIR)/$(AUTOBAHN)
export HYPOTHESIS_STORAGE_DIRECTORY ?= $(CURDIR)/$(VENV)/hypothesis

.PHONY: help demo test unit integration fuzz flyte check lint types contracts coverage perf perf-document perf-smoke proto settings lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -e 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml tools/venv.sh
	@PYTHON=$(PYTHON) tools/venv.sh $(VENV) requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . 2>&1 | { grep -v '^WARNING: Location' || true; }
	@touch $@

$(FLYTE_READY): requirements-flyte.lock tools/venv.sh
	@PYTHON=$(PYTHON) tools/venv.sh $(FLYTE) requirements-flyte.lock
	@touch $@

$(AUTOBAHN_TRIED): requirements-autobahn.lock tools/autobahn.sh $(READY)
	@tools/autobahn.sh $(AUTOBAHN)
	@touch $@

demo: $(READY)  ## start a whole split and watch data cross it
	@$(BIN)/planesplit demo

test: unit integration  ## every test, real processes and real peers included

unit: $(READY)  ## tests without real processes, one worker for each core
	@$(BIN)/python -m pytest -q -n auto -m "not integration"

integration: $(READY) $(FLYTE_READY) $(AUTOBAHN_TRIED)  ## tests with real processes and real peers
	@$(BIN)/python -m pytest -q -m integration

check: lint types contracts coverage  ## lint, types, contracts, unit tests with coverage

lint: $(READY)
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check .

types: $(READY)
	@$(BIN)/mypy

contracts: $(READY)
	@$(BIN)/lint-imports --no-cache --no-logo

coverage: $(READY)  ## branch coverage; the tunnel's core must be at 100 %
	@$(BIN)/python -m pytest -q -n auto -m "not integration" --cov --cov-branch --cov-report=
	@$(BIN)/python -m coverage report --skip-covered
	@$(BIN)/python tests/tunnel/core_coverage.py

fuzz: $(READY)  ## search for MINUTES=5 for bytes that a parser mishandles; by coverage where atheris installs
	@$(BIN)/pip install --quiet --disable-pip-version-check atheris==$(ATHERIS) 2>/dev/null || echo "no atheris here: by chance"
	@$(BIN)/python tests/fuzz $(MINUTES)

perf: $(READY)  ## the relay beside its floor and peers, interleaved in one run
	@$(BIN)/python -m perf

perf-document: $(READY)  ## the same, its tables written into docs/performance.md
	@$(BIN)/python -m perf --document docs/performance.md

perf-smoke: $(READY)  ## the same, short; asserts ratios
	@$(BIN)/python -m pytest -q perf

flyte: $(FLYTE_READY)  ## the unmodified flyte CLI, in .venv-flyte

proto: $(READY)  ## regenerate tunnel/messages/*_pb2.py
	@$(BIN)/pip install --quiet grpcio-tools==1.85.1
	@cd tunnel/messages && ../../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. planesplit_v1.proto

settings: $(READY)  ## write docs/settings.md from the code
	@$(BIN)/python tests/house/settings_page.py > docs/settings.md

lock: $(READY)  ## write requirements.lock from what .venv holds
	@$(BIN)/pip freeze --exclude-editable --exclude grpcio-tools --exclude grpcio > requirements.lock

clean:  ## remove the environments and caches
	rm -rf $(VENV) $(FLYTE) $(AUTOBAHN) .mypy_cache .ruff_cache .coverage
