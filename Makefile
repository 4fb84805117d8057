# make demo: set up, compute a difference with FEFF10 and show the bundled one.   make demo-qe: run a
# small one with Quantum ESPRESSO.   make test: set up everything and test it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
SOURCES := pyproject.toml setup.py $(wildcard ext/*)

.PHONY: help demo demo-qe test docs bench chaos sanitize lint clean espresso

help:
	@echo "make demo   install into $(VENV), compute a difference spectrum and evaluate the bundled ones"
	@echo "make demo-qe  install into $(VENV) and run a small real calculation (minutes)"
	@echo "make test   install into $(VENV) and run the tests, with a real Quantum ESPRESSO run"
	@echo "make docs   build the manual into build/docs, with warnings as errors, and check its links"
	@echo "make chaos  interrupt a hundred runs of a small study at random and check what is left"
	@echo "make bench  measure the compiled core against other programs, in $(BENCH)"
	@echo "make sanitize  run the tests of the compiled core with bounds checks and sanitizers"
	@echo "make lint   ruff, isort, vulture, mypy and cython-lint"

$(STAMP): $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	"$(PYTHON) is older than 3.11: install a newer Python and say make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[test,lint,docs]'
	@touch $@

espresso:
	@sh tools/install-espresso.sh

# From the stored Lanczos chains to spectra, bonds and heating, and the same difference at two edges
# computed with FEFF10: no network, no Quantum ESPRESSO.
# The edge puts the first maximum of the ground state, 6.55 eV above the calculated zero, at the
# published 13472 eV.
DEMO := demo-results
demo: $(STAMP)
	$(BIN)/polaron spectra perovskite_polaron/data/cspbbr3 --edge 13465.45eV --out $(DEMO)/spectra
	$(BIN)/polaron distort cspbbr3-pbnm --mode lo-c --max-displacement 0.1A \
	    --out $(DEMO)/structures --overwrite
	$(BIN)/polaron bonds $(DEMO)/structures/*.cif cspbbr3-pbnm --figure $(DEMO)/bonds.png --overwrite
	$(BIN)/polaron heat --fluence 8.8mJ/cm2 --pump 355nm --size 10nm --concentration 5.8mg/mL \
	    --jet 200um
	$(BIN)/polaron report --out $(DEMO)
	$(BIN)/polaron run examples/feff-br.toml
	$(BIN)/polaron run examples/feff-pb.toml
	$(BIN)/polaron spectra examples/feff-br.toml --engines perovskite_polaron/data/cspbbr3 \
	    --out $(DEMO)/feff-br
	$(BIN)/polaron spectra examples/feff-pb.toml --out $(DEMO)/feff-pb
	@echo "computed here with FEFF10: $(DEMO)/feff-br/engines.png (beside XSpectra), \
	$(DEMO)/feff-pb/difference.png"
	@echo "difference spectrum: $(DEMO)/spectra/difference.png   bond report: $(DEMO)/bonds.png"
	@echo "everything: $(DEMO)/report.html"

LIVE := examples/demo-results
demo-qe: $(STAMP) espresso
	$(BIN)/polaron doctor
	$(BIN)/polaron run examples/demo.toml
	$(BIN)/polaron spectra examples/demo.toml --out $(LIVE)/spectra
	cd $(LIVE) && $(CURDIR)/$(BIN)/polaron bonds structures/polar.cif structures/cubic.cif \
	    --figure bonds.png --overwrite
	@echo "difference spectrum: $(LIVE)/spectra/difference.png   bond report: $(LIVE)/bonds.png"

# Two files of tests at once; what measures time comes after them, alone. Small matrices on two threads
# in each of two processes take three times as long as on one.
test: export OPENBLAS_NUM_THREADS := 1
test: $(STAMP) espresso
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

MANUAL := build/docs
docs: $(STAMP)
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs $(MANUAL)
	$(BIN)/python tools/check_links.py $(MANUAL)
	@echo "the manual is in $(MANUAL)/index.html"

# The other programs hold numpy, setuptools and more at older versions: they live in an environment
# of their own.
$(BENCH)/installed: $(SOURCES)
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --upgrade pip
	$(BENCH)/bin/pip install --quiet --editable '.[test,bench]'
	@touch $@

bench: $(BENCH)/installed espresso
	mkdir -p build
	OPENBLAS_NUM_THREADS=1 $(BENCH)/bin/python -m pytest benchmarks \
	    --benchmark-enable --benchmark-only --benchmark-json=build/benchmarks.json
	$(BENCH)/bin/python benchmarks/table.py build/benchmarks.json benchmarks

# The compiled core with bounds checks and sanitizers, apart from the installed one.
SANITIZED := build/sanitized
SANITIZERS := -fsanitize=address,undefined -fno-omit-frame-pointer -g
sanitize: $(STAMP)
	$(BIN)/pip install --quiet 'setuptools>=77' 'cython>=3.1'
	CFLAGS="$(SANITIZERS)" LDFLAGS="$(SANITIZERS)" POLARON_CHECKED=1 $(BIN)/python setup.py \
	    --quiet build --build-lib $(SANITIZED) --build-temp $(SANITIZED)-objects
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 PYTHONPATH=$(SANITIZED) \
	    $(BIN)/pytest $(wildcard tests/test_*kernel*.py) tests/test_lanczos.py tests/test_bonds.py

chaos: $(STAMP) espresso
	$(BIN)/python tests/chaos.py --runs 100

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/isort --check-only --quiet .
	$(BIN)/vulture
	$(BIN)/mypy
	PATH=$(BIN):$$PATH cython-lint ext

clean:
	rm -rf build dist *.egg-info perovskite_polaron/_ext .pytest_cache .mypy_cache .ruff_cache
