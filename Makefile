# Common tasks; .ci/run runs `make test`.
PYTHON ?= python3
BIN = .venv/bin
IN_PARALLEL = -n auto --dist loadscope --no-loadscope-reorder  # the longest modules first; see tests/conftest.py

.PHONY: setup check test test-all test-oldest campaign docs fix

setup: .venv/ready
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # pip would do it on one core
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest $(IN_PARALLEL) -m 'not slow'

test-all: setup
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest $(IN_PARALLEL)

test-oldest:  # with the oldest versions that pyproject.toml allows; their own deprecation warnings are ignored
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip install --python .venv-oldest --resolution lowest-direct --editable '.[test]'
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE .venv-oldest/bin/pytest $(IN_PARALLEL) -m 'not slow' -W ignore::DeprecationWarning

campaign: setup  # looks for faults by trying much: make campaign MINUTES=60 SEED=1 NAMES=server OUT=results/campaign.json
	$(BIN)/python -m campaigns $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT)) $(NAMES)

docs: .venv-docs/ready  # the documentation site: build/docs/html/index.html
	.venv-docs/bin/python -m docs.site
.venv-docs/ready: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
