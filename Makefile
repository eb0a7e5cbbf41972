# Two commands do all the set-up: `make demo` and `make test`. Each makes or reuses .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One compute thread a process is usually fastest on a shared machine; set OMP_NUM_THREADS to change it.
export OMP_NUM_THREADS ?= 1
JOBS ?= 2
DEMO_DIR ?= demo

.PHONY: demo test test-full lint bench clean

demo: $(VENV)/.installed
	$(BIN)/molbt demo -o $(DEMO_DIR) --jobs $(JOBS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and not gpu and not network"

test-full: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not network"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first and pinned: a looser request may take a newer build with gigabytes of CUDA libraries.
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
