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
.PHONY: help score model docs test test-all lint format build installed shipped clean

help: ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

score: $(INSTALLED) ## measures the bundled example picture with the bundled model
	$(BIN)/origcli score origcli/assets/shapes/example.png --model shapes --out runs/example --force

test: $(DEVELOPED) ## lints, then runs the tests (not those marked gpu, weights or slow)
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest --numprocesses auto --maxprocesses 4

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

model: $(INSTALLED) ## trains the bundled model anew into runs/shapes (hours); a stopped run goes on
	$(BIN)/origcli synth data/shapes --mixture originality --count 100000 --resolution 64 --resume
	$(BIN)/origcli synth data/held-out --mixture originality --count 500 --resolution 64 --seed 1 --resume
	$(BIN)/origcli train-vae data/shapes --epochs 0.3 --batch-size 16 --out runs/shapes-vae-1 --resume
	$(BIN)/origcli train-vae data/shapes --init-from runs/shapes-vae-1/vae --freeze-encoder --epochs 0.3 \
	  --batch-size 16 --learning-rate 1.5e-3 --out runs/shapes-vae-2 --resume
	$(BIN)/origcli train-unet data/shapes --vae runs/shapes-vae-2 --epochs 1.45 --out runs/shapes-unet-1 --resume
	$(BIN)/origcli train-vae data/shapes --init-from runs/shapes-vae-2/vae --epochs 0.8 \
	  --batch-size 16 --learning-rate 1.8e-3 --out runs/shapes-vae-3 --resume
	$(BIN)/origcli train-vae data/shapes --init-from runs/shapes-vae-3/vae --freeze-encoder --epochs 0.6 \
	  --batch-size 16 --learning-rate 1.2e-3 --out runs/shapes-vae-4 --resume
	$(BIN)/origcli train-unet data/shapes --vae runs/shapes-vae-4 --init-from runs/shapes-unet-1/pipeline \
	  --text-encoder runs/shapes-unet-1/pipeline --epochs 1.35 --batch-size 32 --learning-rate 8e-4 \
	  --ema-decay 0.999 --out runs/shapes-unet-2 --resume
	$(BIN)/origcli train-unet data/shapes --vae runs/shapes-vae-4 --init-from runs/shapes-unet-2/pipeline \
	  --text-encoder runs/shapes-unet-2/pipeline --epochs 1.6 --batch-size 32 --learning-rate 8e-4 \
	  --ema-decay 0.999 --out runs/shapes-unet-3 --resume
	$(BIN)/origcli train-vae data/shapes --init-from runs/shapes-vae-4/vae --freeze-encoder --epochs 1.6 \
	  --batch-size 16 --learning-rate 1.2e-3 --out runs/shapes-vae-5 --resume
	$(BIN)/origcli train-vae data/shapes --init-from runs/shapes-vae-5/vae --freeze-encoder --epochs 0.9 \
	  --batch-size 16 --learning-rate 1e-3 --out runs/shapes-vae-6 --resume
	$(BIN)/origcli train-unet data/shapes --vae runs/shapes-vae-6 --init-from runs/shapes-unet-3/pipeline \
	  --text-encoder runs/shapes-unet-3/pipeline --epochs 1.75 --batch-size 32 --learning-rate 1e-3 \
	  --ema-decay 0.999 --out runs/shapes-unet-4 --resume
	$(BIN)/origcli train-unet data/shapes --vae runs/shapes-vae-6 --init-from runs/shapes-unet-4/pipeline \
	  --text-encoder runs/shapes-unet-4/pipeline --epochs 1.8 --batch-size 32 --learning-rate 1e-3 \
	  --ema-decay 0.999 --dtype bf16 --out runs/shapes-unet-5 --resume
	$(BIN)/origcli train-unet data/shapes --vae runs/shapes-vae-6 --init-from runs/shapes-unet-5/pipeline \
	  --text-encoder runs/shapes-unet-5/pipeline --epochs 3 --batch-size 32 --learning-rate 1e-3 \
	  --ema-decay 0.999 --dtype bf16 --out runs/shapes-unet-6 --resume
	$(BIN)/origcli train-unet data/shapes --vae runs/shapes-vae-6 --init-from runs/shapes-unet-6/pipeline \
	  --text-encoder runs/shapes-unet-6/pipeline --epochs 2.5 --batch-size 32 --learning-rate 8e-4 \
	  --ema-decay 0.999 --dtype bf16 --out runs/shapes-unet-7 --resume
	$(BIN)/python -m origcli.models.half runs/shapes-unet-7/pipeline runs/shapes
	$(BIN)/origcli synth data/uniform --count 60000 --resolution 64 --seed 11 --resume
	$(BIN)/origcli train-detector data/uniform --epochs 4 --out runs/shapes-detector --resume
	cp -r runs/shapes-detector/detector runs/shapes/
	$(BIN)/origcli calibrate data/held-out --model runs/shapes --detector runs/shapes/detector --guidance 2 --queries 40 \
	  --write --out runs/shapes-calibrate --force

docs: $(DEVELOPED) ## pictures and outputs in README and docs/ anew, from real runs (minutes; needs Chromium)
	$(BIN)/python -m tests.docs.remake

shipped: $(INSTALLED) ## writes completions/ and man/ anew
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
