# make demo: set up everything and run the main job, small and real.   make test: set up everything and test it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
SOURCES := pyproject.toml setup.py $(wildcard ext/*)

.PHONY: help demo test bench chaos lint clean espresso

help:
	@echo "make demo   install into $(VENV) and run the main job, small and real (minutes)"
	@echo "make test   install into $(VENV) and run the tests, with a real Quantum ESPRESSO run"
	@echo "make bench  measure the compiled core against other programs"
	@echo "make chaos  hurt a hundred runs of a small study and check what is left"
	@echo "make lint   ruff, mypy and cython-lint"

$(STAMP): $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: install a newer Python and say make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[test,lint]'
	@touch $@

espresso:
	@sh tools/install-espresso.sh

demo: $(STAMP) espresso
	$(BIN)/polaron doctor
	$(BIN)/polaron run examples/demo.toml
	$(BIN)/polaron spectra examples/demo.toml
	$(BIN)/polaron bonds examples/demo-results/structures/polar.cif examples/demo-results/structures/cubic.cif --figure examples/demo-results/bonds.png
	@echo "difference spectrum: examples/demo-results/spectra/difference.png   bond report: examples/demo-results/bonds.png"

test: $(STAMP) espresso
	$(BIN)/python -m pytest

bench: $(STAMP)
	$(BIN)/pip install --quiet --editable '.[test,bench]'
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only

chaos: $(STAMP) espresso
	$(BIN)/python tests/chaos.py --runs 100

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH=$(BIN):$$PATH cython-lint ext

clean:
	rm -rf build dist *.egg-info perovskite_polaron/_ext .pytest_cache .mypy_cache .ruff_cache
