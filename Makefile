# Two commands set everything up on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
INPUT ?=
OUTPUT ?= demo-output
BIN := $(VENV)/bin
# The CPU build of torch where there is one: a plain install would bring gigabytes of GPU libraries.
TORCH ?= torch==2.13.0

.PHONY: demo test lint benchmark score screenshots train clean

demo: $(VENV)/.installed
	$(BIN)/slice-interpolation demo --output-dir $(OUTPUT) $(if $(INPUT),--input "$(INPUT)")

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

benchmark: $(VENV)/.installed-test
	$(BIN)/python Testing/Benchmarks/benchmark_speed.py

score: $(VENV)/.installed-test
	$(BIN)/python Testing/Benchmarks/score_methods.py --data $(DATA)

screenshots: $(VENV)/.installed-test
	$(BIN)/python Testing/Desktop/screenshots.py

train: $(VENV)/.installed-test
	$(BIN)/python -m SliceInterpolationTrainerLib train $(or $(RECIPE),flow-refine) --data $(DATA) --output runs/$(or $(RECIPE),flow-refine)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[view]"
	touch $@

$(VENV)/.installed-test: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[view,train,batch,test,desktop]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) demo-output
