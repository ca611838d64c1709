# Everything below sets itself up: it needs Python 3.11 or later, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: quickstart test lint types docs clean

quickstart: $(STAMP)-pythia
	$(BIN)/hepgan quickstart -o quickstart --force

# The trainings of tests are small: a second core would be waited for more than it helps. Unbuffered, a log is whole
# where a run is cut off.
test: $(STAMP)
	PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)-docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) quickstart docs/_build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install -q -c constraints.txt -e ".[test]"
	touch $@

$(STAMP)-pythia: $(STAMP)
	$(BIN)/pip install -q --only-binary=pythia8mc,fastjet -c constraints.txt -e ".[pythia]"
	touch $@

$(STAMP)-docs: $(STAMP)
	$(BIN)/pip install -q -c constraints.txt -e ".[docs]"
	touch $@
