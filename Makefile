# Everything runs in .venv; the one thing needed beforehand is a Python from 3.11 to 3.13.
#
#   make demo      a simulated region, the commands to its maps, pictures and scores, into demo/
#   make install   lay .venv from requirements.lock, with the project in it (editable)
#   make install-extra  lay what the extras of pyproject.toml need beside that, from requirements-extra.lock
#   make test      the tests; TESTS="tests/pipeline/cube/test_cube.py -x" runs some of them
#   make test-slurm  jobs on a SLURM of one node; wants root and Debian's packages of it
#   make test-gateway  clusters of a Dask Gateway on this machine, which it installs into .venv
#   make lint      ruff and mypy
#   make docs      the site of these pages, of the notebooks and of all that is public, into build/site
#   make ci-extra  what CI runs beside lint and tests: the site with warnings as errors, three notebooks, a browser
#   make notebooks   execute the notebooks; NAMES="1 2 8" some of them
#   make notebooks-keep  the same, and rewrite the executed ones that are kept
#   make browser   the explorer in a real browser; wants Debian's chromium, which root is given
#   make bench     the figures of docs/measuring.md and benchmarks/*/RESULTS.md, in short runs
#   make pretrain  the model that comes with the package, from nothing; hours, and wants the scenes
#   make soak      what runs for long on purpose: commands and examples of the docs, the site, all notebooks, the browser
#   make lock      work both locks out anew from pyproject.toml
#   make clean     remove what the above laid

PYTHON ?= python3
SCENES ?= ../shared/scenes
SERIES ?= ../shared/tables
JOBS ?= 2
DEMO ?= demo
PRETRAINED ?= build/pretrained
TESTS ?=
NAMES ?=

TORCH := 2.13.0
EXTRAS := docs notebook view browser
SITE := build/site
VENV := .venv
BIN := $(VENV)/bin
TYPED := build/typed/terralatent
PACKAGES := catalogs models pipeline
FACE := __init__.py py.typed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
# One thread a process: the tests run side by side, and start worker processes of their own.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo install install-extra test test-slurm test-gateway lint format docs ci-extra notebooks notebooks-keep browser bench pretrain soak lock clean

help:
	@sed -n 's/^#   //p' Makefile

install: $(VENV)/project.stamp $(PACKAGES:%=$(TYPED)/%) $(FACE:%=$(TYPED)/%)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	    echo "make install: $(PYTHON) is no Python from 3.11 to 3.13; say make install PYTHON=python3.12, or whichever you have" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Every version comes from the lock. torch above all: an open range would take a build of several GB.
$(VENV)/lock.stamp: requirements.lock | $(BIN)/python
	$(PIP) install --requirement requirements.lock
	@touch $@

$(VENV)/project.stamp: $(VENV)/lock.stamp pyproject.toml setup.py
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

install-extra: install $(VENV)/extra.stamp

$(VENV)/extra.stamp: requirements-extra.lock $(VENV)/lock.stamp
	$(PIP) install --constraint requirements.lock --requirement requirements-extra.lock
	@touch $@

$(FACE:%=$(TYPED)/%): $(TYPED)/%: | $(VENV)/project.stamp
	@mkdir -p $(TYPED)
	@ln -sfn ../../../terralatent/$* $@

# mypy and editors do not see through an editable install: they follow these links.
$(TYPED)/%: | $(VENV)/project.stamp
	@mkdir -p $(TYPED)
	@ln -sfn ../../../$* $@

demo: install
	@$(BIN)/terralatent demo --out $(DEMO)

# Files are dealt in their own order: that of xdist would end with those of few and long tests.
test: install
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

test-slurm: install
	$(ONE_THREAD) $(BIN)/python -m pytest -m slurm tests/pipeline/cluster/test_slurm.py

test-gateway: install
	$(PIP) install --constraint requirements.lock 'dask-gateway>=2025.1' 'dask-gateway-server[local]>=2025.1'
	$(ONE_THREAD) $(BIN)/python -m pytest -m gateway tests/pipeline/cluster/test_gateway.py

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Anew each time: what is left of an earlier build would hide a page or a picture that is gone.
docs: install-extra
	rm -rf $(SITE)
	$(ONE_THREAD) $(BIN)/python -m sphinx --quiet --fail-on-warning --fresh-env \
	    --conf-dir docs/site --doctree-dir build/doctrees . $(SITE)

ci-extra: docs browser
	$(ONE_THREAD) $(BIN)/python -m pytest -m "site or not site" tests/test_site.py tests/test_docstrings.py
	$(ONE_THREAD) $(BIN)/python notebooks 1 2 8

notebooks: install-extra
	$(ONE_THREAD) $(BIN)/python notebooks $(NAMES)

notebooks-keep: install-extra
	$(ONE_THREAD) $(BIN)/python notebooks --keep $(NAMES)

# Where there is no chromium and nobody may install one, the tests say that they were skipped.
browser: install-extra
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || { \
	    timeout 60 apt-get update -qq && timeout 180 apt-get install -qq --yes --no-install-recommends chromium fonts-dejavu-core; \
	    } >/dev/null 2>&1 || echo "make browser: chromium could not be installed" >&2
	$(ONE_THREAD) $(BIN)/python -m pytest -m browser tests/browser

bench: install
	$(BIN)/python -m benchmarks.posteriors --quick
	$(BIN)/python -m benchmarks.posteriors.training_step --quick
	$(BIN)/python -m benchmarks.simulation.truth --quick
	$(BIN)/python -m benchmarks.simulation.outliers --seeds 0
	$(BIN)/python -m benchmarks.downstream.parcels --quick
	$(BIN)/python -m benchmarks.ingest --quick $(SCENES)
ifeq ($(wildcard $(SERIES)/canada-2017.parquet),)
	@echo "make bench: SKIPPED what needs labelled series, no table at $(SERIES); say make bench SERIES=FOLDER" >&2
else
	$(BIN)/python -m benchmarks.downstream --quick $(SERIES)
	$(BIN)/python -m benchmarks.downstream.ucr_crop --quick $(SERIES)
	$(BIN)/python -m benchmarks.annual --quick --only accuracy $(SERIES)/..
endif
ifeq ($(wildcard $(SCENES)/catalog.json),)
	@echo "make bench: SKIPPED what needs scenes, no catalogue at $(SCENES); say make bench SCENES=FOLDER" >&2
else
	$(BIN)/python -m benchmarks.embed --quick $(SCENES)
	$(BIN)/python -m benchmarks.annual --quick --only cost $(SCENES)/..
	$(BIN)/python -m benchmarks.overviews --quick $(SCENES)
	$(BIN)/python -m benchmarks.lazy --quick --rounds 1 $(SCENES)
	$(BIN)/python -m benchmarks.embed.fields --quick $(SCENES)
	$(BIN)/python -m benchmarks.trust --quick $(SCENES)
	$(BIN)/python -m benchmarks.halves --quick $(SCENES)
	$(BIN)/python -m benchmarks.gapfill --quick $(SCENES)
	$(BIN)/python -m benchmarks.gapfill.ablation --quick $(SCENES)
	$(BIN)/python -m benchmarks.simulation.realism --quick --real $(SCENES)
endif

pretrain: install
	$(BIN)/python -m benchmarks.pretrained --work $(PRETRAINED)

# pytest ends with 5 where it finds no test to run.
soak: install-extra
	@$(BIN)/python -m pytest -m "soak or slow" $(TESTS) || { code=$$?; \
	    if [ $$code -eq 5 ]; then echo "make soak: there is no soak test yet"; else exit $$code; fi; }
	$(MAKE) docs browser notebooks

COMPILE = $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --no-build-isolation \
    --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(UPGRADE)
PLAIN := awk '/^[^ ]/ { skip = /^(nvidia-|cuda-|triton)/ } !skip { sub(/\+[a-z0-9.]+$$/, ""); print }'

# Versions already locked stay unless they no longer fit; make lock UPGRADE=--upgrade takes the newest.
# What torch's own build for one kind of device adds (+cpu, the CUDA packages) is left to each machine.
lock: | $(BIN)/python
	$(PIP) install 'pip-tools>=7.5' 'setuptools>=77'
	$(COMPILE) --extra dev --upgrade-package torch==$(TORCH) --output-file requirements.lock pyproject.toml
	@{ echo "# Worked out from pyproject.toml by make lock, for Python 3.11 to 3.13: change that, not this."; \
	    $(PLAIN) requirements.lock; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock
	$(COMPILE) --no-annotate $(EXTRAS:%=--extra %) --constraint requirements.lock --output-file requirements-extra.lock pyproject.toml
	@{ echo "# What the extras need beside requirements.lock, by make lock: change pyproject.toml, not this."; \
	    $(PLAIN) requirements-extra.lock | grep -vxFf requirements.lock; } > requirements-extra.lock.new
	@mv requirements-extra.lock.new requirements-extra.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find $(PACKAGES) tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
