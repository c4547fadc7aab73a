# Sets everything up on a machine that has Python >= 3.11, make and a network.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Without its cache of compiled modules every command takes 10 s more to import torch.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check lint types unit smoke lock clean

demo: $(READY)  ## both tables and the report on built-in real data, minutes on two cores
	$(BIN)/labelwise demo --out runs/demo

test: lint types unit smoke  ## what CI runs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/pytest

smoke: $(READY)  ## every command once, on real data where it is at hand
	PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/smoke.sh

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(READY)

lock: pyproject.toml  ## pin what pyproject.toml asks for
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --python-version 3.11 --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) runs build dist .pytest_cache .mypy_cache .ruff_cache
