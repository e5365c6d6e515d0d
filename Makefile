# make app    the page on http://localhost:7860, with the embedded model
# make test   ruff and the tests, browser tests included where there is a Chromium
# make bench  measure speed into benchmarks/results.json
# make tables put the committed measurements into README.md and the model card
# make figures  draw the toy laboratory's figures and measure its numbers anew
# make train  make the embedded model anew (hours; RESUME=--resume goes on where it stopped)
# make pictures  paint the README's pictures anew
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= $(firstword $(shell command -v python3.11 || command -v python3))
VENV ?= .venv
PORT ?= 7860
BIN := $(VENV)/bin

# pip run by the machine's own Python into the virtual environment: works also where `venv` comes without pip
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --quiet

.PHONY: app test lint format bench tables pictures figures train chromium clean help

help:
	@sed -n 's/^# //p' Makefile

app: $(BIN)/.app
	$(BIN)/python -m steering app --port $(PORT)

test: $(BIN)/.dev chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

lint format: $(BIN)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BIN)/.dev chromium
	$(BIN)/python -m benchmarks.bench

tables: $(BIN)/.app
	$(BIN)/python -m benchmarks.tables

pictures: $(BIN)/.dev chromium
	$(BIN)/python -m benchmarks.pictures

figures: $(BIN)/.dev
	$(BIN)/python -m steering dae figures

RESUME ?=
TRAIN := $(BIN)/python -m training
train: $(BIN)/.train
	$(TRAIN).dataset
	$(TRAIN).autoencoder --minutes 17 $(RESUME)
	$(TRAIN).diffusion --minutes 120 $(RESUME)
	$(TRAIN).decoder --minutes 12 $(RESUME)
	$(TRAIN).publish --vae training/runs/decoder
	$(TRAIN).judge --minutes 4 $(RESUME)
	$(TRAIN).concepts examples
	$(TRAIN).concepts vectors
	$(BIN)/python -m steering.ui.firstpaint
	$(BIN)/python -m steering calibrate --model tiny-sd --out assets/calibrations/tiny-sd.json
	$(BIN)/python -m steering evaluate --model tiny-sd --what all --out models/tiny-sd/evaluation.json

# One line where browser tests cannot run; Debian's package where it may be installed.
chromium:
	@bash tests/browser/chromium.sh

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 was not found; install it or run: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Rudder needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv --without-pip $(VENV)

$(BIN)/.app: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing what the app needs into $(VENV) (once; some minutes) ..."
	$(PIP) install -r requirements.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(BIN)/.dev: $(BIN)/.app requirements-dev.txt
	@echo "Installing what the tests need ..."
	$(PIP) install -r requirements-dev.txt
	touch $@

$(BIN)/.train: $(BIN)/.app training/requirements.txt
	@echo "Installing what training needs ..."
	$(PIP) install -r training/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
