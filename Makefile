# make app    the page on http://localhost:7860, with the embedded model
# make test   ruff and the tests, browser tests included where there is a Chromium
# make bench  measure speed into benchmarks/results.json
# make tables put the committed measurements into README.md and the model card
# make train  make the embedded model anew (hours; RESUME=--resume goes on where it stopped)
# make pictures  paint the README's pictures anew
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:

PYTHON ?= $(firstword $(shell command -v python3.11 || command -v python3))
VENV ?= .venv
PORT ?= 7860
BIN := $(VENV)/bin
CHROMIUMS := chromium chromium-browser google-chrome google-chrome-stable

# pip run by the machine's own Python into the virtual environment: works also where `venv` comes without pip
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --quiet

.PHONY: app test lint format bench tables pictures train chromium clean help

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

RESUME ?=
train: $(BIN)/.train
	train="$(BIN)/python -m training"
	$$train.dataset
	$$train.autoencoder --minutes 17 $(RESUME)
	$$train.diffusion --minutes 120 $(RESUME)
	$$train.decoder --minutes 12 $(RESUME)
	$$train.publish --vae training/runs/decoder
	$$train.judge --minutes 5 $(RESUME)
	$$train.concepts examples
	$$train.concepts vectors
	$(BIN)/python -m steering.ui.firstpaint
	$(BIN)/python -m steering calibrate --model tiny-sd --out assets/calibrations/tiny-sd.json
	$(BIN)/python -m steering evaluate --model tiny-sd --what all --out models/tiny-sd/evaluation.json

# One line where browser tests cannot run; Debian's package where it may be installed.
chromium:
	@for name in "$${CHROMIUM:-}" $(CHROMIUMS); do
	  if [ -n "$$name" ] && command -v "$$name" >/dev/null; then exit 0; fi
	done
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	  echo "Installing Debian's chromium for the browser tests ..."
	  export DEBIAN_FRONTEND=noninteractive
	  if apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends chromium >/dev/null </dev/null; then exit 0; fi
	fi
	echo "Browser tests are not run: no Chromium here; install one (Debian: apt-get install chromium) or set CHROMIUM=/path/to/it, then run make test again."

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
