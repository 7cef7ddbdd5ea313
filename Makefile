# Two commands on a machine with Python 3.11 and make:  make book   and   make test
# Nothing is installed, trained, executed or rendered twice: every step looks at what changed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help book test check study install clean

VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# What `make book` runs again on the embedded shop; all of it: make book STUDY="dimo mmsbr addrl idsf"
STUDY ?= dimo
HTML := _build/html/index.html
CHAPTERS := $(wildcard book/chapters/*.ipynb)
# What `make check` executes again: one chapter of data, one of tables, one across the papers.
CHECKED := $(patsubst %,book/chapters/%.ipynb,data dimo_main price_list)
# The results as one file, for the page that offers it.
BUNDLE := _build/disentrec-results.zip
BUNDLED := $(shell find results src/disentrec -name '*.json' -o -name '*.py' -o -name '*.yaml') CITATION.bib

# One thread per process: small matrix products are slower with more, and runs are what is parallel.
export OMP_NUM_THREADS := 1
export JUPYTER_PLATFORM_DIRS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

book: install $(BUNDLE) ## The book: study the embedded shop, execute changed notebooks, render _build/html
	for study in $(STUDY); do $(BIN)/disentrec study $$study --budget demo --store _build/rerun --jobs $(JOBS); done
	$(BIN)/disentrec book --jobs $(JOBS)
	$(BIN)/jupyter-book build . --all -W -n --keep-going
	@echo "The book: $(CURDIR)/$(HTML)"

test: $(VENV)/.test _build/rerun.md $(BUNDLE) ## Every check: style, notebooks, strict book, tests, executed chapters against their code
	$(BIN)/ruff check .
	$(if $(wildcard notebooks/*.ipynb),$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb)
	$(BIN)/jupyter-book build . --all -W -n --keep-going
	$(BIN)/python -m pytest tests
	$(if $(CHAPTERS),$(BIN)/python -m pytest -p tests.kernels --nbval --nbval-current-env -n $(JOBS) --dist loadscope $(CHAPTERS))

check: $(VENV)/.test ## The quick checks: style, tests without studies and browser, three chapters
	$(BIN)/ruff check .
	$(BIN)/python -m pytest tests --ignore tests/browser --ignore tests/study --ignore tests/training -n $(JOBS)
	$(BIN)/python -m pytest -p tests.kernels --nbval --nbval-current-env $(CHECKED)

study: install ## The grid on real data (hours; resumes where it stopped): make study JOBS=8
	for paper in dimo mmsbr addrl idsf; do $(BIN)/disentrec study $$paper --budget real --jobs $(JOBS); done

install: $(VENV)/.book ## The pinned environment in .venv

clean: ## Remove what make made: _build and .venv. Records and data stay
	rm -rf _build $(VENV)

# The page of the rerun includes this file; `make book` writes what this machine says.
_build/rerun.md:
	@mkdir -p _build && echo 'Nothing was run again on this machine yet: `make book` does it.' > $@

$(BUNDLE): $(BUNDLED) | $(VENV)/.book
	$(BIN)/disentrec bundle $@

$(VENV)/.book: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@ $(VENV)/.book

$(VENV)/bin/python:
	@for python in python3.11 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    $$python -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); echo "$$python has no venv module (on Debian: apt install python3.11-venv)" >&2; exit 1; \
	  fi; \
	done; \
	echo "Python 3.11 was not found as python3.11 or python3. Get it from python.org, your package manager or" >&2; \
	echo "conda (environment.yml), then run make again." >&2; exit 1
