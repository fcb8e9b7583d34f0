# make demo    three real hosts from a plain OS to containers with simulated GPUs
# make test    everything that this machine can run
# make unit    its fast part: two minutes, and nothing of this machine is touched
# make bench   speed, side by side with what you use today
# make gpu     what only a GPU can show, such as what verification costs
# make clean   remove what the above left

PYTHON ?= python3
VENV   ?= .venv
# The second controller: another Python, and with it the other supported line of ansible-core.
VENV2  ?= .venv2
# PyTorch, which hosts have and the controller has not.
VENV_TORCH ?= .venv-torch
# A file's tests share their hosts; files do not. Each process has labs of its own.
BY_FILE = --dist=loadfile --no-loadscope-reorder
SIDE_BY_SIDE ?= --numprocesses=auto --maxprocesses=4 $(BY_FILE)
# Hosts are waited for while they boot: three labs keep two processors at work.
LABS_SIDE_BY_SIDE ?= --numprocesses=3 $(BY_FILE)

# CI ends a run after 90 minutes. What has not begun by then is skipped, and said.
ifdef CI
MINUTES ?= 78
endif
ifdef MINUTES
ifndef AIPROV_TEST_DEADLINE
export AIPROV_TEST_DEADLINE := $(shell $(PYTHON) -c 'import time; print(int(time.time()) + 60 * $(MINUTES))')
endif
endif

.PHONY: demo test unit other-controller bench gpu collection generated clean

demo:
	@$(PYTHON) .ci/prepare.py $(VENV) --lab
	@$(VENV)/bin/python -m tests.demo

test:
	@$(PYTHON) .ci/prepare.py $(VENV) --extra test --lab --tools --torch $(VENV_TORCH)
	@$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) tests/unit
	@$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) tests/processes
	@$(VENV)/bin/python -m pytest -m alone tests/lab
	@$(VENV)/bin/python -m pytest $(LABS_SIDE_BY_SIDE) --verbose -m "not alone" tests/slow tests/payload tests/lab
	@$(MAKE) --no-print-directory other-controller

unit:
	@$(PYTHON) .ci/prepare.py $(VENV) --extra test --tools
	@$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) tests/unit

other-controller:
	@$(PYTHON) -m tests.controllers $(VENV2) $(SIDE_BY_SIDE)

bench:
	@$(PYTHON) .ci/prepare.py $(VENV) --extra test --lab
	@$(VENV)/bin/python -m tests.bench

# With a Python that has PyTorch: make gpu PYTHON=…
gpu:
	@$(PYTHON) -m tests.gpu

collection:
	@$(PYTHON) .ci/prepare.py $(VENV)

generated:
	@$(PYTHON) .ci/prepare.py $(VENV)
	@$(VENV)/bin/python -m aiprov.faces

clean:
	@if [ -x $(VENV)/bin/aiprov ]; then $(VENV)/bin/aiprov lab down; fi
	rm -rf $(VENV) $(VENV2) $(VENV_TORCH) .lab .aiprov .collections .pytest_cache .mypy_cache .ruff_cache .hypothesis
