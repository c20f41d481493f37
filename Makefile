# Two commands do everything on a machine with Python 3.11+ and make: `make demo` and `make test`.
# Each makes its own virtual environment in .venv and installs what it needs.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types pytest clean

demo: .venv/installed
	$(BIN)/cs-stem demo --out demo-output

test: lint types pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/pyright

# One thread a worker: two workers with as many threads as cores each would slow one another down.
pytest: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

# torch and torchvision must come from one resolver call: a CPU-only torch does not load with the registry's torchvision.
.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cs-stem needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cs-stem needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/installed

clean:
	rm -rf .venv demo-output cs-stem-output .pytest_cache .ruff_cache
