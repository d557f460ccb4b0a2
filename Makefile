# `make demo` and `make test` need Python 3.11 or newer, make and a package index; nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types check quick check-wheel docs fuzz clean

demo: $(VENV)/.installed
	$(BIN)/python scripts/demo.py

test: $(VENV)/.installed-dev
	$(MAKE) lint types check

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

check: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal

# a minute: what breaks first; every codec keeps its promises, old files decode
QUICK := tests/cli tests/coding tests/container tests/data tests/metrics tests/priors tests/quantization \
	tests/transforms tests/codecs/test_conformance.py tests/test_*.py
quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" $(QUICK)

# the wheel, installed into an empty environment and asked to compress a photo
check-wheel: $(BIN)/python
	$(BIN)/python scripts/check_wheel.py

# the documentation as a site: open site/index.html, or serve the folder for the search
docs: $(VENV)/.installed-docs
	$(BIN)/python -m mkdocs build --strict

# half an hour of fuzzing on two cores: a million inputs for the container, ten thousand for each codec; needs a platform
# that atheris supports
fuzz: $(VENV)/.installed-dev
	$(BIN)/pip install -q -c constraints.txt -e '.[fuzz]'
	$(BIN)/python scripts/fuzz.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) demo report site .mypy_cache .pytest_cache .ruff_cache
