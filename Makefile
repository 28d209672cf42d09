.PHONY: demo test test-abuse check bench matrix combinations docs screenshots clean

PORT ?= 8000
BIN := build/venv/bin
TOOLS := build/venv/tools
DEVTOOLS := build/venv/devtools
SOURCES := demo.py bench hooks tests tools
ABUSE := $(addprefix tests/test_,$(addsuffix .py,\
  budgets closing conformance floods half_open http2 logs neighbours processes redis_layer redis_prefix requests volume))
# On a terminal uv shows what it is doing.
QUIET := $(if $(MAKE_TERMERR),,--quiet)
export PATH := $(CURDIR)/$(BIN):$(PATH)

ifneq ($(shell python3 -c "import sys; print(sys.version_info >= (3, 11))" 2>/dev/null),True)
$(error Python 3.11 or newer has to be first on the PATH as python3, this is $(shell python3 --version 2>&1))
endif

# The default project at http://127.0.0.1:8000; PORT=... changes it.
demo:
	@exec python3 demo.py "$(PORT)"

# Everything, on all cores.
test: $(DEVTOOLS)
	$(BIN)/pytest -n logical --dist loadgroup

# Attacks and faults alone, with the table that docs/abuse.md has.
test-abuse: $(DEVTOOLS)
	$(BIN)/pytest -n logical --dist loadgroup $(ABUSE)

# What takes two minutes.
check: $(DEVTOOLS)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/pytest -n logical --dist loadgroup -m quick

# How fast the engine is beside others, and how long generation takes; ARGS="--only fanout --rounds 1" runs a part.
bench: $(DEVTOOLS)
	PYTHONPATH=.:tests $(BIN)/python -m bench.engine $(ARGS)
	$(BIN)/python bench/generation.py

# The combinations whose servers and suites are run.
matrix:
	@python3 -m tools.matrix

# What CI's machines run: more than `make test` does. JOB=uvicorn-3.13-6.1 or JOB=pairs-3.13 is one of them.
combinations: $(DEVTOOLS)
	$(BIN)/pytest -n logical -m combinations tests/test_combinations.py -k "$(JOB)"

# The parts of README.md that are made: a first minute, the questions, the numbers.
docs: $(DEVTOOLS)
	$(BIN)/python -m tools.readme

# The pictures of the README, taken anew; FOLDER=... puts them elsewhere.
screenshots: $(DEVTOOLS)
	$(BIN)/python -m tools.screenshots $(FOLDER)

clean:
	rm -rf build

# An environment for generation, with uv in it; then what the tests need as well.
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
