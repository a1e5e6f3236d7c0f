# `make demo` and `make test` are all that a new user needs; both set up first.
PYTHON ?= python3
# cpu or gpu: which build of FAISS (they share an import name, so never both)
FAISS ?= cpu
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test core lint docs results bench torture clean help

help:
	@echo "make demo   set up, then search sampled faces and a real photo, with pictures"
	@echo "make test   set up, then run the tests"
	@echo "make core   run the core of the tests on the oldest and the newest Python, with the lowest and"
	@echo "            the newest versions of dependencies"
	@echo "make lint   set up, then run ruff and mypy"
	@echo "make docs   write the reference pages of commands and of Python"
	@echo "make results  recompute docs/lab/results.md from a labelled store: STORE=out/celeba/.ris, and"
	@echo "              of options from one with wider scores: ABLATION=out/celeba128/.ris"
	@echo "make bench  measure speed and memory; BENCH='--store S --photos P' for faces of your own"
	@echo "make torture  faults of disks, files, neighbours and limits, see docs/lab/faults.md: MINUTES=60"
	@echo "make setup  make .venv with the ris command in it"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[$(FAISS),eval,dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/python -m examples.demo

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

core: setup
	.ci/core

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/python -m typer cli.py utils docs --name ris --output docs/reference/commands.md
	$(BIN)/python docs/make_python.py

STORE ?= out/celeba/.ris
IDENTITY ?= identity
ABLATION ?= $(STORE)
results: setup
	$(BIN)/python -m ris.evaluate.results --store $(STORE) --identity $(IDENTITY) \
		--ablation-store $(ABLATION)

BENCH ?=
bench: setup
	$(BIN)/python -m benchmarks.bench $(BENCH)

MINUTES ?= 1
SEED ?= 1
torture: setup
	$(BIN)/python -m tests.torture --minutes $(MINUTES) --seed $(SEED) --json out/torture.json

clean:
	rm -rf $(VENV) out build *.egg-info
