# `make score` and `make test` are all a newcomer needs; `make help` lists the rest.
# PYTHON picks the interpreter; TORCH=cpu installs the CPU builds of torch (200 MB instead of 3 GB).

PYTHON ?= python3
TORCH ?= default
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed
CPU_INDEX := https://download.pytorch.org/whl/cpu
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help score model real docs site test test-all lint format build installed shipped clean

help: ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

score: $(INSTALLED) ## score two bundled images with the bundled model
	$(BIN)/origcli demo --out runs/example --force

test: $(DEVELOPED) ## lints, then runs the tests (not those marked gpu, weights or slow)
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test-all: $(DEVELOPED) ## runs all tests that this machine can
	$(BIN)/pytest -m "not weights and not gpu"

lint: $(DEVELOPED) ## ruff, mypy, import-linter, and completions and man pages are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m origcli.cli.shipped --check

format: $(DEVELOPED) ## formats the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

model: $(INSTALLED) ## trains the bundled model again into runs/shapes (hours); a stopped run resumes
	PATH="$(abspath $(BIN)):$$PATH" sh origcli/assets/train-shapes.sh

real: $(DEVELOPED) ## with a GPU and a network: download weights, run their tests, score photos into docs/results/real
	$(PIP_INSTALL) 'scikit-image>=0.26,<0.27'
	$(BIN)/python -m benchmarks.real $(if $(IMAGES),--images $(IMAGES))

docs: $(DEVELOPED) ## images and outputs in README and docs/, from real runs (minutes; needs Chromium)
	$(BIN)/python -m tests.docs.remake

site: $(DEVELOPED) ## the documentation as pages in build/site, to open without a server
	$(BIN)/python -m mkdocs build --strict --site-dir build/site

shipped: $(INSTALLED) ## write completions/, man/ and docs/commands.md
	$(BIN)/python -m origcli.cli.shipped --update

build: $(DEVELOPED) ## wheel and sdist in dist/, checked
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*

installed: build ## installs the wheel outside the checkout and measures the example with it
	$(BIN)/python tests/installed.py dist/*.whl

clean: ## removes what was built, not .venv and not runs/
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "origcli needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
ifeq ($(TORCH),cpu)
	$(PIP_INSTALL) torch torchvision --index-url $(CPU_INDEX)
endif

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV); the first time this takes minutes"
	$(PIP_INSTALL) --editable .
	@touch $@

$(DEVELOPED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing with the tools of development into $(VENV); the first time this takes minutes"
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $(INSTALLED) $@
