# Every command of this checkout. Each is a script that reads well by itself; this file is the list of them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit devices lab-up lab-down lint sanity molecule integration bench
MAKEFLAGS += --no-print-directory

PYTHON = .venv/bin/python

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the other commands need (each of them does it by itself)
	@tests/setup

demo: setup ## build a network in the lab and open its pages from afar (NETWORK=relay, pfsense or site-to-site); the lab stays up
	@NETWORK=$(NETWORK) tests/demo

test: setup ## everything below, with a table of results at the end
	@$(PYTHON) tests/run.py all

test-unit: setup ## unit tests, in seconds
	@$(PYTHON) -m pytest -q -n 2 tests/unit

devices: setup ## the devices' modules against their strict doubles, in minutes
	@$(PYTHON) tests/run.py devices

lab-up: setup ## boot the lab: VPS, router, CGNAT, ingress, Cloudflare, visitor, controller
	@tests/lab/lab up

lab-down: setup ## stop the lab and remove all of it
	@tests/lab/lab down

lint: setup ## ruff, mypy, shellcheck, ansible-lint, changelog, documentation, galaxy build
	@$(PYTHON) tests/run.py lint

sanity: setup ## ansible-test sanity and unit tests on every ansible-core that runs here
	@$(PYTHON) tests/run.py sanity

molecule: setup ## molecule scenarios over the lab
	@$(PYTHON) tests/run.py molecule

integration: setup ## integration tests over the lab
	@$(PYTHON) tests/run.py integration

bench: setup ## benchmarks over the lab: ratios, no verdict
	@$(PYTHON) tests/run.py bench
