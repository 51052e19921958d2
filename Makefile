# make train    set up, then train a U-Net on the embedded street scenes and print the path of its report
# make test     set up, then check style, types, layers and behaviour
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: train test clean
train: $(VENV)/.ready
	$(BIN)/python train.py experiment=first_run

test: $(VENV)/.tested .mypy/imagier
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n 3 --dist worksteal

clean:
	rm -rf $(VENV) .mypy .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "imagier needs Python 3.11 or newer; name one with make PYTHON=python3.12"; exit 1; }
	@# Debian and Ubuntu split venv off from Python.
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		echo "$(PYTHON) lacks its venv module; installing $$package"; \
		sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); $$sudo apt-get update -q && $$sudo apt-get install -qy $$package; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.8

# uv takes a quarter of pip's time; pip knows mirrors and proxies from its own settings, which uv does not read. Compiled
# here, packages need not be compiled by every process that may not write beside them.
$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[export,sweep]' \
		|| $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[export,sweep]'
	touch $@

# cityscapesscripts, the reference for labels and scores, asks for packages that break current Pythons: leave them out.
$(VENV)/.tested: $(VENV)/.ready
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]' \
		|| $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt cityscapesscripts
	touch $@

.mypy/imagier:
	mkdir -p .mypy && ln -sfn ../src $@
