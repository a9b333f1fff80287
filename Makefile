# Needs Python 3.11 or newer and make; everything else is installed into .venv.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
WORKERS ?= 2

BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
NPM := cd page && PATH="$(CURDIR)/$(BIN):$$PATH" npm

.PHONY: demo test quick check page pages mutants results docs benchmark tracking clean
.DELETE_ON_ERROR:
.SECONDARY: .venv-torch/bin/python .venv-robot/bin/python .venv-tracking/bin/python # make would remove it, as a step on the way

demo: .venv/installed
	$(BIN)/composite-flow demo

# The workers share what they compile, however quickly, and a later run finds it again.
# Exported agents run in .venv-robot, which has no JAX. Pages are opened in the system's Chromium, where there is one.
# Each file goes to one worker, so that its tests share their fixtures and compiled functions; long files go first.
# `quick` leaves out tests that are marked slow, which train, start programs or run experiments: half of the time.
test quick: .venv/installed-test .venv-robot/installed page/node_modules/installed
	JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.venv/compiled JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
	  $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ONLY)
quick: ONLY := -m "not slow"

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Builds the script and the style that every page carries from page/, with a Node that comes from PyPI.
page: page/node_modules/installed
	$(NPM) run --silent check
	$(NPM) run --silent build

# Changes the core in 300 places, one at a time, and counts how many of these its tests notice. Takes hours; stop it at any
# time, and it goes on there the next time. WORKERS are mutants at a time here; OPTIONS="--number 30" draws fewer.
mutants: .venv/installed-test .venv/installed-mutants
	$(BIN)/python -m mutants.check --jobs $(WORKERS) $(OPTIONS)

# Fills the pages of results from the committed cells.
results: .venv/installed-docs
	$(BIN)/python -m composite_flow_paper.pages

# The pages that docs/page.md shows, of three teams that are trained for it, some minutes each on an idle machine (in steps,
# so that a busy one shows the same); they are not kept in git.
pages: docs/pages/demo.html docs/pages/network.html docs/pages/battle.html

WORLD_demo := sensor:3x3,targets=2
WORLD_network := sensor:5x5,targets=2
WORLD_battle := smax:zerg_5_vs_5
TITLE_demo := Nine sensors look for two targets
TITLE_network := Twenty-five sensors look for two targets
TITLE_battle := Five allies against five enemies
docs/pages/%.html: | .venv/installed-smax
	test -d outputs/pages/$*/data || $(BIN)/composite-flow collect $(WORLD_$*) --episodes 1024 --out outputs/pages/$*/data
	$(BIN)/composite-flow train outputs/pages/$*/data --out outputs/pages/$*/run --resume --learn both --width 256 --steps 6000
	$(BIN)/composite-flow show outputs/pages/$*/run outputs/pages/$*/data --out $@ --title "$(TITLE_$*)"

docs: .venv/installed-docs
	$(BIN)/mkdocs build --strict

# PyTorch gets an environment of its own, so that neither library disturbs the other.
benchmark: .venv/installed-smax .venv-torch/installed-benchmarks
	JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.venv/compiled $(BIN)/python -m benchmarks.harness \
	  --peer-python .venv-torch/bin/python --out docs/results/benchmarks.json --page docs/benchmarks.md
	$(BIN)/python -m benchmarks.state_size --out docs/results/state_size.json --page docs/state_size.md
	$(BIN)/python -m benchmarks.loader --out docs/results/loader.json --page docs/loader.md
	$(BIN)/python -m benchmarks.latency --out docs/results/latency.json --page docs/latency.md
	$(BIN)/python -m benchmarks.policy_inputs --out docs/results/policy_inputs.json --page docs/policy_inputs.md

# Stone Soup gets one too, beside this package: targets that sensors track, by its filters and ours.
tracking: .venv-tracking/installed
	JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.venv-tracking/compiled .venv-tracking/bin/python -m benchmarks.tracking \
	  --out docs/results/tracking.json --page docs/tracking.md

clean:
	rm -rf .venv .venv-torch .venv-robot .venv-tracking page/node_modules site

# One stamp per set of extras; a change of the requirements, or of the version, installs again.
# The install is editable, so that a change of the code needs no second one.
.venv/installed: pyproject.toml constraints.txt composite_flow/__init__.py | .venv/bin/python
	$(BIN)/python $(INSTALL) --editable .
	@touch $@

.venv/installed-%: pyproject.toml constraints.txt composite_flow/__init__.py | .venv/bin/python
	$(BIN)/python $(INSTALL) --editable ".[$*]"
	@touch $@

page/node_modules/installed: page/package-lock.json | .venv/installed-test
	$(NPM) ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

.venv-torch/installed-%: pyproject.toml constraints.txt | .venv-torch/bin/python
	.venv-torch/bin/python $(INSTALL) --editable ".[$*]"
	@touch $@

.venv-tracking/installed: pyproject.toml constraints.txt | .venv-tracking/bin/python
	.venv-tracking/bin/python $(INSTALL) --editable ".[tracking]"
	@touch $@

# What an exported agent runs on: no JAX, and not this package either.
.venv-robot/installed: constraints.txt | .venv-robot/bin/python
	.venv-robot/bin/python $(INSTALL) numpy onnxruntime eclipse-zenoh
	@touch $@

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "$(PYTHON) is missing or older than Python 3.11: install a newer one, or name it with PYTHON=python3.12." >&2; exit 1; }
	@$(PYTHON) -m venv $* || { rm -rf $*; \
	  echo "$(PYTHON) cannot create a virtual environment: install its venv module (on Debian: python3-venv)." >&2; exit 1; }
