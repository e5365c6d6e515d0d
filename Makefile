# make app    the page on http://localhost:7860, with the embedded model
# make test   ruff, mypy and the tests, browser tests included where there is a Chromium
# make bench  measure speed into benchmarks/results.json
# make tables put the committed measurements into docs/measured.md, the README and the model card
# make figures  draw the toy laboratory's figures and measure its numbers anew
# make train  make the embedded model anew (hours; RESUME=--resume goes on where it stopped)
# make train-dit, make train-edm  the other two families' models, after make train's pictures and autoencoder
# make train-small  the same chain in minutes, into build/chain, to see that every link holds
# make pictures  paint the README's pictures anew
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= $(firstword $(shell command -v python3.11 || command -v python3))
VENV ?= .venv
PORT ?= 7860
BIN := $(VENV)/bin

# pip run by the machine's own Python into the virtual environment: works also where `venv` comes without pip
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --quiet

.PHONY: app test lint format bench tables pictures figures train train-dit train-edm train-small chromium clean help

help:
	@sed -n 's/^# //p' Makefile

app: $(BIN)/.app
	$(BIN)/python -m steering app --port $(PORT)

test: $(BIN)/.dev chromium
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/browser
	$(BIN)/python -m pytest tests/browser  # one at a time: a page and a Chromium keep two cores busy

lint format: $(BIN)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BIN)/.dev chromium
	$(BIN)/python -m benchmarks.bench

tables: $(BIN)/.app
	$(BIN)/python -m benchmarks.tables

pictures: $(BIN)/.dev chromium
	$(BIN)/python -m benchmarks.pictures
	$(BIN)/python -m benchmarks.sheets
	$(BIN)/python -m benchmarks.depth

figures: $(BIN)/.dev
	$(BIN)/python -m steering dae figures

RESUME ?=
ROOT ?= .
COUNT ?= 480000
FEW ?= 30000
MINUTES_AUTOENCODER ?= 200
MINUTES_JUDGE ?= 8
MINUTES_JUDGED ?= 60
MINUTES_DECODER ?= 30
MINUTES_DIFFUSION ?= 480
VECTORS ?=
CALIBRATE ?=
EVALUATE ?= --what all
SEARCH ?= --search
TRAIN := $(BIN)/python -m training
RUNS := $${RUDDER_TRAINING:-training}/runs
train: export RUDDER_HOME = $(abspath $(ROOT))
train: export OMP_WAIT_POLICY = ACTIVE
train: $(BIN)/.train
	$(TRAIN).dataset --count $(COUNT)
	$(TRAIN).autoencoder --minutes $(MINUTES_AUTOENCODER) --count $(FEW) $(RESUME)
	$(TRAIN).judge --minutes $(MINUTES_JUDGE) --count $(FEW) $(RESUME)
	$(TRAIN).autoencoder --start $(RUNS)/vae --folder $(RUNS)/judged --minutes $(MINUTES_JUDGED) --lr 5e-4 --count $(FEW) $(RESUME)
	$(TRAIN).decoder --minutes $(MINUTES_DECODER) --count $(FEW) $(RESUME)
	$(TRAIN).diffusion --muon --minutes $(MINUTES_DIFFUSION) $(RESUME)
	$(TRAIN).publish --vae $(RUNS)/decoder
	$(TRAIN).recall tiny-sd
	$(TRAIN).concepts examples
	$(TRAIN).fresh
	$(TRAIN).concepts vectors $(VECTORS)
	$(BIN)/python -m steering calibrate --model tiny-sd $(CALIBRATE) --out $(ROOT)/assets/calibrations/tiny-sd.json
	$(BIN)/python -m steering.ui.firstpaint $(SEARCH)
	$(BIN)/python -m steering.ui.audit --example
	$(BIN)/python -m steering evaluate --model tiny-sd $(EVALUATE) --out $(ROOT)/models/tiny-sd/evaluation.json

MINUTES_DIT ?= 240
MINUTES_EDM ?= 240
train-dit train-edm: export RUDDER_HOME = $(abspath $(ROOT))
train-dit train-edm: export OMP_WAIT_POLICY = ACTIVE
train-dit: $(BIN)/.train
	$(TRAIN).dit --muon --empty-memories 0.4 --minutes $(MINUTES_DIT) --vae-folder $(ROOT)/models/tiny-sd/vae $(RESUME)
	$(TRAIN).publish_dit
	$(call measured,tiny-dit)

train-edm: $(BIN)/.train
	$(TRAIN).edm --muon --lr 1.5e-3 --empty-memories 0.4 --minutes $(MINUTES_EDM) $(RESUME)
	$(TRAIN).edm --publish
	$(call measured,tiny-edm)

define measured
	$(TRAIN).recall $(1)
	$(TRAIN).concepts vectors --model $(1) $(VECTORS)
	$(BIN)/python -m steering calibrate --model $(1) $(CALIBRATE) --out $(ROOT)/assets/calibrations/$(1).json
	$(BIN)/python -m steering evaluate --model $(1) $(EVALUATE) --out $(ROOT)/models/$(1)/evaluation.json
endef

# The whole chain from nothing to published files in minutes; the model it makes is good for nothing.
SMALL := $(CURDIR)/build/chain
train-small:
	rm -rf $(SMALL) && mkdir -p $(SMALL)/assets/calibrations
	RUDDER_TRAINING=$(SMALL)/training $(MAKE) train ROOT=$(SMALL) COUNT=2000 FEW=1000 MINUTES_AUTOENCODER=0.5 \
	  MINUTES_JUDGE=0.5 MINUTES_JUDGED=0.5 MINUTES_DECODER=0.5 MINUTES_DIFFUSION=0.7 VECTORS="--count 4 --only sketch blueprint" \
	  CALIBRATE="--by-heart 0" SEARCH="--search --limit 1" EVALUATE="--what prompts --limit 3"

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
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
