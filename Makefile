# A fresh machine needs two commands: make quickstart, make test. Both make .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OLDEST ?= .venv-oldest
BARE ?= .venv-bare
# Shorter quickstart, e.g. `make quickstart STEPS=100 EPISODES=50`.
STEPS ?= 1500
EPISODES ?= 500
# Two workers, which take tests from each other at the end: one file's tests mostly share a worker and what it has made.
PYTEST ?= -n 2 --dist worksteal --durations 10

# Tests and the quickstart start many processes: none of them shall compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

# Other random starts of networks and batches, e.g. `make fast SEED=3`: every test holds whatever the start.
SEED ?= 0
export FSSEG_TEST_SEED = $(SEED)

.PHONY: quickstart test fast test-oldest test-bare test-processors fuzz lint docs format bench-gpu install clean

# Where `fsseg fit` would write too. Each start is afresh; a run that is there already is moved aside.
RUN := runs/quickstart/fold0

# One thread for so small a network: as fast as two on an idle machine, and several times faster on a busy one.
quickstart: export OMP_NUM_THREADS = 1
quickstart: install
	if [ -e $(RUN) ]; then mv $(RUN) $(RUN)-until-$$(date +%Y%m%d-%H%M%S); fi
	$(BIN)/fsseg fit --config experiments/quickstart.yaml --out $(RUN) \
		--trainer.max_steps $(STEPS) --model.lr_scheduler.total_steps $(STEPS)
	$(BIN)/fsseg test --ckpt_path $(RUN)/last.ckpt --protocol.episodes $(EPISODES)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST)

fast: install  ## two minutes on two cores: without tests that start processes or take over half a second
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST) -m "not slow"

test-processors: install  ## the fast suite as processors without AVX, with AVX2, and this one compute
	for capability in default avx2; do ATEN_CPU_CAPABILITY=$$capability $(MAKE) fast || exit 1; done
	$(MAKE) fast

test-oldest: $(OLDEST)/installed  ## with the oldest libraries allowed, whose deprecations among each other are not ours
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest $(PYTEST) -m "not slow" -W ignore::DeprecationWarning

test-bare: $(BARE)/installed  ## without extras: tests that need one are skipped, and say which
	OMP_NUM_THREADS=1 $(BARE)/bin/python -m pytest $(PYTEST) -m "not slow" -rs

# Broken and hostile files of each kind, other ones at each start, e.g. `make fuzz FUZZ=10000`.
FUZZ ?= 2000
fuzz: install
	OMP_NUM_THREADS=1 FSSEG_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/test_fuzz.py tests/test_names.py -q

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install  ## the site, in build/site/index.html; a broken link or reference is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -f docs/site/mkdocs.yml

bench-gpu: install  ## throughput on a GPU, with random images: BENCH="--rounds 3" passes options on
	$(BIN)/python benchmarks/gpu.py $(BENCH)

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'fsseg needs Python 3.11 or newer: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

# uv resolves each requirement to its lower bound, so no second list of versions can drift from pyproject.toml.
$(OLDEST)/installed: pyproject.toml
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct \
		-r pyproject.toml --extra dev
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --no-deps -e .
	touch $@

$(BARE)/installed: pyproject.toml
	$(PYTHON) -m venv --clear $(BARE)
	$(BARE)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(BARE) build runs .mypy_cache .ruff_cache .pytest_cache
