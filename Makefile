# Everything there is to do with this repository. `make help` lists it; `make book` and `make test` suffice.
#
# The environment is a virtual one in .venv, made on first use and renewed when pyproject.toml or
# constraints.txt change. Nothing needs to be activated.

VENV    := .venv
PY      := $(VENV)/bin/python
SITE    := _build/html
WORKERS ?= 2
PORT    ?= 8000

SHELL         := /bin/bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# make CPU=1 ...: the builds of torch without CUDA, some 200 MB instead of 3 GB. They are of the same version,
# with +cpu behind it, which pip prefers. An environment that is there already stays as it is.
ifdef CPU
export PIP_EXTRA_INDEX_URL := $(strip $(PIP_EXTRA_INDEX_URL) https://download.pytorch.org/whl/cpu)
endif

# Two processes with one thread each are faster here than one with two.
ONE_THREAD := OMP_NUM_THREADS=1
# glibc returns large blocks to the system the moment they are freed; a network takes the same ones
# again at every step, and the page faults can cost more than the arithmetic. So let it keep them.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 4294967296
export MALLOC_TOP_PAD_ := 67108864
export PYTHONUTF8 := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export JUPYTER_PLATFORM_DIRS := 1

.PHONY: help book site serve test test-fast lint format types unit notebooks-check site-check \
        jupyter-check test-offline test-alone second-device texts notebooks results benchmarks repository \
        env env-test clean distclean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' \
	  | awk -F'\t' '{ printf "  make %-16s %s\n", $$1, $$2 }'

# --- the environment ---------------------------------------------------------------------------

# PYTHON=... chooses the interpreter; without it the first one that is new enough.
$(PY):
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv --clear $(VENV) || { echo "error: $$python could not make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; rm -rf $(VENV); exit 1; }; \
	    exit 0; \
	  fi; \
	done; \
	echo "error: the book needs Python 3.11 or newer; looked for: $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python). Install one, or name it: make PYTHON=/path/to/python" >&2; \
	exit 1

# $(call install,EXTRAS): everything at the versions of constraints.txt, the package itself editable.
define install
@echo "Installing mlbook[$(1)] into $(VENV): a few minutes, only this once"
@$(PY) -m pip install --quiet -c constraints.txt -e ".[$(1)]"
@touch $@
endef

$(VENV)/.book-is-installed: pyproject.toml constraints.txt | $(PY)
	$(call install,book)

$(VENV)/.test-is-installed: pyproject.toml constraints.txt | $(PY)
	$(call install,book$(comma)jupyter$(comma)test$(comma)distributed)
	@touch $(VENV)/.book-is-installed
comma := ,

env: $(VENV)/.book-is-installed
env-test: $(VENV)/.test-is-installed

# --- the book ----------------------------------------------------------------------------------

book: env  ## build the site from the stored outputs and say where it is
	@$(MAKE) --no-print-directory site
	@echo
	@echo "The book is at file://$(CURDIR)/$(SITE)/index.html"
	@echo "make serve shows it at http://localhost:$(PORT)/"

# Warnings are errors. What Sphinx remembers of a build with warnings is dropped, because the next
# build would skip the pages that it had read already, and pass.
site:
	@$(VENV)/bin/jupyter-book build . -W -n --keep-going -q || { rm -rf _build/.doctrees; exit 1; }

serve: book  ## build the site and serve it at http://localhost:8000 (PORT=...)
	@$(PY) -m http.server --directory $(SITE) --bind 127.0.0.1 $(PORT)

# --- checks ------------------------------------------------------------------------------------

test: env-test lint types unit site notebooks-check site-check jupyter-check  ## everything: lint, types, unit tests, site, notebooks, browser

test-fast: env-test lint types unit  ## lint, types and unit tests: no notebook is run, no browser started

lint: env-test  ## ruff over package, tests, tools and notebooks; TypeScript's checks of the figures where npm is
	@$(PY) -m ruff check --quiet .
	@$(PY) tools/javascript.py
	@$(PY) -m ruff format --check --quiet . || { echo "error: make format mends the layout of:" >&2; $(PY) -m ruff format --check . >&2; exit 1; }

format: env-test  ## let ruff lay out the code
	@$(PY) -m ruff check --fix --quiet . || true
	@$(PY) -m ruff format .

types: env-test  ## mypy, strict, over the package
	@$(PY) -m mypy

unit: env-test
	@$(ONE_THREAD) $(PY) -m pytest tests --ignore tests/site --ignore tests/jupyter -n $(WORKERS)

# Run again, every notebook must give what it stores. With glyphs in Omniglot's place its numbers
# are others, so there nbval compares nothing and the assertions in the notebooks decide.
notebooks-check: env-test  ## run the notebooks again and compare with what they store (NOTEBOOKS=...)
	@nbval=$$($(PY) tools/data.py --nbval); \
	$(ONE_THREAD) $(PY) -m pytest $$nbval --nbval-current-env --nbval-cell-timeout=600 --timeout=660 \
	  -n $(WORKERS) --dist loadfile $(or $(NOTEBOOKS),book)

site-check: env-test  ## the built site in Chromium, with no network
	@$(PY) tools/browser.py
	@$(PY) -m pytest tests/site

jupyter-check: env-test  ## notebooks in JupyterLab, as their reader sees them, with no network
	@$(PY) tools/browser.py
	@$(ONE_THREAD) $(PY) -m pytest tests/jupyter

# A cheap notebook with no data, an empty cache and no network: it has to fall back to glyphs.
OFFLINE ?= book/problem/tasks.ipynb
test-offline: env-test  ## one notebook with no data and no network, and those of practice without their networks
	@cache=$$(mktemp -d); trap 'rm -rf "$$cache"' EXIT; \
	export MLBOOK_CACHE=$$cache; unset MLBOOK_DATA; \
	nbval=$$($(PY) tools/offline.py $(PY) tools/data.py --nbval --expect glyphs); \
	$(ONE_THREAD) $(PY) tools/offline.py $(PY) -m pytest $$nbval --nbval-current-env \
	  --nbval-cell-timeout=600 --timeout=660 $(OFFLINE); \
	$(ONE_THREAD) $(PY) tools/offline.py $(PY) -m pytest tests/without_weights.py

# As in Colab, where there is the package and no checkout: a copy of what pip installs from a wheel, the
# notebooks in an empty folder. All they show from stored runs has to come with the package.
ALONE ?= book/metric/comparison.ipynb book/problem/how_many_tasks.ipynb
test-alone: env-test  ## two notebooks from an empty folder with the installed wheel
	@place=$$(mktemp -d); trap 'rm -rf "$$place" build' EXIT; rm -rf build; \
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --target "$$place" .; \
	$(ONE_THREAD) PYTHONPATH=$$place $(PY) tools/notebooks.py --check --alone $(ALONE)

# No GPU is needed to see devices mixed: a simulated one computes on the CPU and says so.
second-device: env-test  ## every cell of the notebooks on a simulated GPU, training cut short (NOTEBOOKS=...)
	@NOTEBOOKS="$(NOTEBOOKS)" $(ONE_THREAD) $(PY) -m pytest tests/second_device_notebooks.py -n $(WORKERS)

# --- what takes longer -------------------------------------------------------------------------

texts: env-test  ## write references and drawings into the notebooks that cite and show them (NOTEBOOKS="...")
	@$(PY) tools/references.py $(NOTEBOOKS)
	@$(PY) tools/drawings.py $(NOTEBOOKS)

notebooks: env-test  ## run the notebooks and store their outputs (NOTEBOOKS="...")
	@$(PY) tools/data.py
	@$(PY) tools/notebooks.py $(NOTEBOOKS)

results: env-test  ## train and measure what is shipped; resumable (METHOD=...)
	@$(PY) results/run.py $(METHOD)

benchmarks: env-test  ## speed and size, side by side with peers; those that are installed take part
	@$(PY) benchmarks/prototypical.py
	@$(PY) benchmarks/metric.py
	@$(PY) benchmarks/maml.py
	@$(PY) benchmarks/mann.py
	@$(PY) benchmarks/processes.py
	@$(PY) benchmarks/imports.py
	@$(PY) benchmarks/data.py
	@$(PY) benchmarks/folder.py

repository: env-test  ## carry the repository's address everywhere (URL=..., VERSION=...)
	@$(PY) tools/repository.py $(if $(URL),--url "$(URL)") $(if $(VERSION),--version "$(VERSION)")

clean:  ## remove what was built; the environment and the data stay
	@rm -rf _build build node_modules *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove the environment as well
	@rm -rf $(VENV)
