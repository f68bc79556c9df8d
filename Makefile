# Every target is complete on a fresh machine that has python3 (>= 3.11), make and the network.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# What tools cache stays inside the virtual environment.
export RUFF_CACHE_DIR      := $(VENV)/cache/ruff
export MYPY_CACHE_DIR      := $(VENV)/cache/mypy

.DEFAULT_GOAL := help
.PHONY: help setup reproduce claims benchmark test torture lint format conf docs lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

setup: $(STAMP)  ## a virtual environment in .venv with everything pinned by hash

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lenet-bench needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing (on Debian: apt install python3-venv)."; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

reproduce: $(STAMP)  ## sigmoid vs tanh vs ReLU on the included digits: figures, tables, about two minutes
	$(BIN)/lenet-bench experiment=sigmoid_tanh_relu

claims: $(STAMP)  ## train what the claims about activations need and decide them; e.g. ARGS="dataset=cifar10"
	$(BIN)/lenet-bench-claims $(ARGS)

benchmark: $(STAMP)  ## milliseconds per run and iteration, beside other ways to train the same; half an hour
	$(BIN)/python -m benchmarks.throughput

test: $(STAMP)  ## the whole test suite; leaves nothing behind, not even compiled Python
	@trap 'find lenet_bench benchmarks docs tests -name __pycache__ -prune -exec rm -r {} +' EXIT; \
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

torture: $(STAMP)  ## kill sweeps at every file operation and 200 times at random, and compare; an hour
	$(BIN)/python -m tests.torture $(ARGS)

lint: $(STAMP)  ## ruff, mypy (strict), the order of the rooms, the house rules, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir $(VENV)/cache/import-linter
	$(BIN)/python -m tests.house
	$(BIN)/python -m lenet_bench.hydra_app.conf_files --check
	$(BIN)/python -m docs.site.reference --check

format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

conf: $(STAMP)  ## write what follows from the tables of choices: files of conf/, generated parts of docs/
	$(BIN)/python -m lenet_bench.hydra_app.conf_files
	$(BIN)/python -m docs.site.reference

docs: $(STAMP)  ## the documentation as a site in build/site; any warning is an error
	$(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml

lock: $(STAMP)  ## regenerate requirements.lock: the newest versions for Python 3.11 and later, every platform
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-annotate --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean:  ## remove the virtual environment and its caches; runs stay
	rm -rf $(VENV) build dist
