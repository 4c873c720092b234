# The README's commands. Each makes .venv when it is missing or out of date, then does its job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train test test-fast learn lint docs package clean

train: $(VENV)/.installed
	$(BIN)/gradninja train $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 $(ARGS)

# The first case of every quick test: for the loop of editing. CONTRIBUTING says more.
test-fast: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --lane fast $(ARGS)

learn: $(VENV)/.installed
	$(BIN)/gradninja learn $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/whole/typed_use.py

# The site, in build/site; a link or a name that leads nowhere is an error.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The wheel and the sdist, in dist/, each installed and used.
package: $(VENV)/.installed
	tools/try_package

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs build dist
