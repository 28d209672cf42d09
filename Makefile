.PHONY: demo test test-abuse check bench lighthouse matrix combinations docs screenshots clean

PORT ?= 8000
BIN := build/venv/bin
TOOLS := build/venv/tools
DEVTOOLS := build/venv/devtools
SOURCES := demo.py bench hooks tests tools
ABUSE := $(addprefix tests/test_,$(addsuffix .py,\
  budgets closing conformance floods half_open http2 logs neighbours processes redis_layer redis_prefix requests volume))
# On a terminal uv shows its progress.
QUIET := $(if $(MAKE_TERMERR),,--quiet)
export PATH := $(CURDIR)/$(BIN):$(PATH)

ifneq ($(shell python3 -c "import sys; print(sys.version_info >= (3, 11))" 2>/dev/null),True)
$(error Python 3.11 or newer has to be first on the PATH as python3, this is $(shell python3 --version 2>&1))
endif

# Serve the default project at http://127.0.0.1:8000, or at PORT=...
demo:
	@exec python3 demo.py "$(PORT)"

# Run everything, on all cores.
test: $(DEVTOOLS)
	$(BIN)/pytest -n logical --dist loadgroup --durations 20

# Run only the attacks and faults of docs/abuse.md.
test-abuse: $(DEVTOOLS)
	$(BIN)/pytest -n logical --dist loadgroup $(ABUSE)

# Run the checks that take two minutes.
check: $(DEVTOOLS)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/python -m tools.voice
	$(BIN)/pytest -n logical --dist loadgroup -m quick

# Measure the engine beside other frameworks, and generation. ARGS="--only fanout --rounds 1" runs a part.
bench: $(DEVTOOLS)
	PYTHONPATH=.:tests $(BIN)/python -m bench.engine $(ARGS)
	$(BIN)/python bench/generation.py

# Let Lighthouse judge every page. The other tests of pages run with `make test`.
lighthouse: $(DEVTOOLS)
	$(BIN)/pytest -m lighthouse tests/test_pages.py

# List the combinations whose servers and suites are run.
matrix:
	@python3 -m tools.matrix

# Run CI's combinations, more than `make test` does. JOB=uvicorn-3.13-6.1 or JOB=pairs-3.13 selects a machine's.
combinations: $(DEVTOOLS)
	$(BIN)/pytest -n logical -m combinations tests/test_combinations.py -k "$(JOB)"

# Generate parts of README.md and CONTRIBUTING.md: a first minute, the questions, the files, the numbers.
docs: $(DEVTOOLS)
	$(BIN)/python -m tools.readme

# Take the pictures of the README again. FOLDER=... puts them elsewhere.
# ARGS="--everything" takes every page in all looks, with a sheet per page, into FOLDER=../looks.
screenshots: $(DEVTOOLS)
	$(BIN)/python -m tools.screenshots $(FOLDER) $(ARGS)

clean:
	rm -rf build

# Create an environment for generation, with uv. The other target adds the packages of the tests.
$(TOOLS): pyproject.toml
	@echo "Setting up build/venv ..."
	python3 -m venv build/venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	uv pip install $(QUIET) --python $(BIN)/python -r pyproject.toml
	touch $@

$(DEVTOOLS): $(TOOLS)
	@echo "Installing what the tests need ..."
	uv pip install $(QUIET) --python $(BIN)/python -r pyproject.toml --group dev
	touch $@
