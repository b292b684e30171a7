# `make run` shows the product at work, `make test` proves it, `make check` reads it, `make bench`
# measures it.
# Overridable: PYTHON (an interpreter, 3.11 or newer), VENV (where the environment goes),
# WEB_PORT, TWILIO_PORT, OPENAI_PORT (of `make run`).

SHELL := /bin/sh
VENV ?= .venv
PY := $(VENV)/bin/python
PYTHON ?=
WEB_PORT ?= 8000
TWILIO_PORT ?= 8010
OPENAI_PORT ?= 8020
# `make bench QUICK=1`: a few minutes, and nothing is kept.
QUICK ?=
export WEB_PORT TWILIO_PORT OPENAI_PORT
export PYTHONDONTWRITEBYTECODE :=
# Reading the code needs settings; the sandbox's are no secret.
SANDBOX := VOICECALL_ENV_FILE=sandbox.env

.DEFAULT_GOAL := help
.PHONY: help run test check fix lock bench

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

run: $(VENV)/.installed-run  ## everything against the sandbox, with one demonstration call
	@exec $(PY) -m demo

test: $(VENV)/.installed-test  ## all tests; starts PostgreSQL and Redis where none runs
	@exec $(PY) -m tests

check: $(VENV)/.installed-test  ## style, types, import rules, migrations, docs
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(SANDBOX) $(PY) -m mypy .
	@$(VENV)/bin/lint-imports --no-logo
	@$(SANDBOX) $(PY) manage.py makemigrations --check --dry-run
	@$(SANDBOX) $(PY) manage.py check --fail-level WARNING
	@$(PY) -m pytest -q -p no:cacheprovider tests/docs

fix: $(VENV)/.installed-test  ## repair what can be repaired without thought
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .
	@$(PY) -m tests.docs.fault_table

bench: $(VENV)/.installed-bench  ## the bridge beside its peers: what a call costs, what it adds
	@exec $(PY) -m bench $(if $(QUICK),--quick,--out bench/RESULTS.md)

lock: $(VENV)/.installed-test  ## resolve the dependencies in pyproject.toml anew
	@sh requirements/lock.sh $(VENV)

$(VENV)/.installed-%: requirements/%.lock requirements/bootstrap.lock requirements/install.sh
	@PYTHON='$(PYTHON)' sh requirements/install.sh $(VENV) $*
