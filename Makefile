# Sets everything up on a machine that has Python >= 3.11, make and a network.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CLEAN := build/clean

# Without its cache of compiled modules every command takes 10 s more to import torch.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test lint types unit coverage campaign smoke docs notebooks pages build lock clean

help:  ## print this list
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-9s %s\n", $$1, $$2}'

setup: $(READY)  ## make the environment .venv with the versions of requirements.lock

demo: $(READY)  ## run both methods on built-in real data and write their reports; minutes on two cores
	$(BIN)/labelwise demo --out runs/demo

test: lint types docs unit smoke  ## run everything that CI runs, at the end a small part of the attacks
	$(MAKE) campaign SLICE=1

lint: $(READY)  ## check the style of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## check the types
	$(BIN)/mypy

unit: $(READY)  ## run the tests in JOBS processes
	$(BIN)/pytest -n $(JOBS) --dist loadfile

coverage: $(READY)  ## the same, half as fast: print the lines that the tests do not reach; fails below 95%
	$(BIN)/pytest -n $(JOBS) --dist loadfile --cov

campaign: $(READY)  ## attack every command: kills, full disks, bad inputs, hostile names; SLICE=1: a part of it
	$(BIN)/pytest tests/campaigns -n $(JOBS) --dist loadgroup -m $(if $(SLICE),quick,campaign)

smoke: $(READY)  ## run every command once, on real data where there is any
	PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/smoke.sh

docs: $(READY)  ## build the documentation as a site in build/site; a dead link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

notebooks: $(READY)  ## run the notebooks of the documentation again and keep what they print
	$(BIN)/python docs/notebooks.py

# A version of the documentation is a folder of that branch, MAJOR.MINOR; a patch replaces it. Nothing is pushed.
pages: $(READY)  ## add the documentation of this version to the branch gh-pages, beside those of earlier ones
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 VERSIONS=mike mike deploy --update-aliases \
	  $$(sed -n 's/^__version__ = "\([0-9]*\.[0-9]*\).*/\1/p' src/labelwise/__init__.py) latest
	PATH="$(CURDIR)/$(BIN):$$PATH" mike set-default latest

# Of a wheel alone, uv would take only the wheel itself for direct, and the newest version of all that it needs.
build: $(READY)  ## build the package, install it with the lowest and the newest versions, run it there
	rm -rf dist $(CLEAN)
	$(BIN)/uv build --quiet --out-dir dist
	set -e; for versions in lowest-direct highest; do \
	  clean=$(CLEAN)/$$versions; \
	  $(BIN)/uv venv --quiet --python $(BIN)/python $$clean; \
	  $(BIN)/uv pip compile --quiet --no-header --no-annotate --resolution $$versions --python $$clean/bin/python \
	    --output-file $$clean.txt pyproject.toml; \
	  $(BIN)/uv pip install --quiet --constraint $$clean.txt --python $$clean/bin/python dist/*.whl; \
	  bash tests/wheel.sh $$clean; \
	done

lock: pyproject.toml  ## pin the versions of what pyproject.toml asks for
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --python-version 3.11 --extra dev --extra docs --output-file requirements.lock pyproject.toml

clean:  ## remove the environment, runs and all that was built
	rm -rf $(VENV) runs build dist .coverage .pytest_cache .mypy_cache .ruff_cache

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(READY)
