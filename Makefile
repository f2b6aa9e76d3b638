# Each target works on a fresh clone: the first one that runs creates .venv. A sweep installs what it
# needs, 0.7 GB; all else needs the runtime and the tools, 2.1 GB in all.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
REPORTS := $(if $(wildcard $(STAMP)),$(STAMP),.venv/.reports)

# Tests start processes: one that finds nothing compiled takes 26 s of a core to import the runtime,
# and 10 where the first of them may leave what it compiled.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: sweep test thorough lint docs validate gpu rehearse-gpu clean
sweep: $(REPORTS)  ## predict the OPT family and write the report to runs/sweep
	$(BIN)/zo2sim sweep

test: $(STAMP)  ## the test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

thorough: $(STAMP)  ## the same tests with eight times the examples, over whole spaces
	THOROUGH=1 $(BIN)/python -m pytest -n 2 --dist worksteal -o faulthandler_timeout=3000

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

docs: $(STAMP)  ## README, docs/ and docstrings as a site in runs/docs; a broken reference is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning -c docs . runs/docs
	cp runs/docs/README.html runs/docs/index.html

validate: $(STAMP)  ## measure this machine, then compare predictions with real runs on it
	$(BIN)/python -m experiments.calibrate --out runs/machine.toml
	$(BIN)/python -m experiments.validate --machine runs/machine.toml --record --out runs/validate

gpu: $(STAMP)  ## on a machine with a card, in 8 minutes: its machine file, tests, predicted and measured
	$(BIN)/python -m experiments.card

REHEARSED ?= runs/rehearsal
rehearse-gpu: $(STAMP)  ## the same without a card: over a recorded fake, with faults, and on the CPU
	$(BIN)/python -m pytest -n 0 tests/experiments/day/test_rehearsal.py
	rm -rf $(REHEARSED)
	$(BIN)/python -m experiments.card --backend host --minutes 4 --out $(REHEARSED)

$(STAMP): pyproject.toml constraints.txt
	$(call install,all)

.venv/.reports: pyproject.toml constraints.txt
	$(call install,report)

# Python compiles what is imported when it is; to compile all that is installed takes a core a minute
# and a half.
define install
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[$(1)]'
	touch $@
endef

clean:
	rm -rf .venv runs
