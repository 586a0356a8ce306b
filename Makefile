# Commands for a checkout; each makes the virtual environment .venv first if there is none.

.DEFAULT_GOAL := help
.PHONY: help install quickstart test docs lint types format check bench clean

help:  ## list these commands
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: .venv/installed  ## make .venv, with everything that the tests need

.venv/installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install -c constraints.txt -e ".[dev]"
	touch $@

quickstart: install  ## a dataset, three agents, their comparison: results in runs/quickstart
	.venv/bin/qdt-rl quickstart

test: install  ## all tests
	.venv/bin/python -m pytest -n 2

docs: install  ## run the Python blocks and qdt-rl commands of README.md and docs/, and follow their links
	.venv/bin/python -m pytest tests/test_documentation.py

lint: install  ## style: ruff's formatter and linter
	.venv/bin/ruff format --check
	.venv/bin/ruff check

types: install  ## mypy, strict
	.venv/bin/mypy

format: install  ## let ruff format the code, and mend what it can
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

check:  ## what CI runs: style, types, tests
	bash .ci/run

PEERS ?= build/peers

bench: install  ## the benchmark against d3rlpy, Hugging Face and TorchRL, which PEERS holds; results in runs/bench
	test -d $(PEERS) || python3 tests/benchmarks/peers/make_peers_env.py $(PEERS)
	.venv/bin/python -m tests.benchmarks --peers $(PEERS)
	.venv/bin/python -m tests.benchmarks --peers $(PEERS) --scaling

clean:  ## remove caches; .venv and runs stay
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find qdt_rl envs tests -name __pycache__ -type d -prune -exec rm -rf {} +
