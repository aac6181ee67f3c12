# Everything a contributor types.  Each target sets up what it needs; .venv is the only place that is written outside build/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: help demo test test-wine lint lib driver wheels bench bench-driver bench-simwfp soak fuzz fuzz-python clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /	/' | expand -t 15

$(STAMP): pyproject.toml hatch_build.py Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

lib: $(STAMP) ## the driver on simwfp, as the lab's library
	@$(BIN)/python tools/native.py lab

driver: $(STAMP) ## pointsman.sys and .pdb for x64 and ARM64, in build/driver
	@$(BIN)/python tools/native.py driver

wheels: $(STAMP) ## every wheel of a release, in dist: Linux with the lab, Windows x64 and ARM64 with the driver
	@$(BIN)/python tools/wheels.py

demo: lib ## the main job on real programs, in twenty seconds
	@$(BIN)/pointsman demo

test: lib driver ## every test that this machine can run
	@$(BIN)/python -m pytest

test-wine: driver ## the real pointsman.sys and Windows code under Wine (Debian: wine wine64); `make test` has them too
	@$(BIN)/python -m pytest tests/wine

lint: $(STAMP) ## ruff (check and format) and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/mypy tests tools bench

bench: $(STAMP) ## against other proxies, as root: PTB_HARNESS, PTB_WORK, ARGS (see bench/run.py)
	@$(BIN)/python -m pip install --quiet --editable '.[fast]'
	@PTB_POINTSMAN="$(CURDIR)/$(BIN)/python -m pointsman" $(BIN)/python bench/run.py $(or $(ARGS),--peer direct,haproxy,pointsman --case a,b,c,d,e,f --reps 3)

bench-driver: $(STAMP) ## instructions of the driver itself per decision (needs valgrind)
	@$(BIN)/python tools/bench_driver.py

bench-simwfp: $(STAMP) ## how the simulator's classify and commit grow with the number of filters
	@$(BIN)/python tools/native.py bench

soak: lib ## mixed load for SOAK seconds (600; the long form is 3600): does the proxy keep what it should have let go?
	@$(BIN)/python bench/soak/soak.py $(or $(SOAK),600)

SECONDS ?= 60
fuzz: $(STAMP) ## libFuzzer on the driver, SECONDS=60 (needs clang, libclang-rt-dev)
	@$(BIN)/python tools/native.py fuzz $(SECONDS)

fuzz-python: $(STAMP) ## what reads bytes of strangers in Python, SECONDS=60, TARGETS="..." (tests/conformance/fuzz_targets.py)
	@$(BIN)/python -m pip install --quiet --group fuzz || echo "no atheris for this Python: own mutations"
	@$(BIN)/python tools/fuzz_python.py $(SECONDS) $(TARGETS)

clean: ## removes what was built
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache src/pointsman/lab/_native
