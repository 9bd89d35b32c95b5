# `make` prints the menu. Every target first makes the virtual environment that it needs, so a machine
# with Python 3.11 (and its venv module) and make is enough. Nothing is installed outside this directory.

VENV ?= .venv
PYTHON = $(VENV)/bin/python
ARGS ?=
RUNS ?= 20
SEED ?=
CELL ?=
MINUTES ?=
PART ?= 1/1
BASE_PYTHON ?= $(shell command -v python3.11 || command -v python3)

# The stamp is named after the lock file's content: a checkout that only touches it installs nothing.
STAMP = $(VENV)/installed-$(shell cksum < requirements.lock | tr ' ' '-')

.DEFAULT_GOAL := help
.PHONY: help venv test test-thorough demo-oscar chaos chaos-sagas chaos-shop chaos-table bench-transfer bench-proxy bench-messaging bench-scaling lint format docs demo up lock wheel dist clean

help: ## Print this menu
	@echo "usage: make TARGET [ARGS=\"…\"]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "for example: make test ARGS=\"tests/unit -x\"    make demo ARGS=\"--orders 200000 --seed 7\""

demo: $(STAMP) ## Carry the orders context out of the shop under live traffic, back once, and out again (ARGS)
	$(PYTHON) -m demo $(ARGS)

demo-oscar: $(STAMP) ## Carry orders out of django-oscar under its own customers, back once, out again, for good (ARGS)
	$(PYTHON) -m demo.oscar $(ARGS)

up: $(STAMP) ## Start the demo's servers, print their addresses and leave them running until Ctrl-C (ARGS)
	$(PYTHON) -m demo up $(ARGS)

test: $(STAMP) ## Run the tests, two at a time (ARGS go to pytest: a path, -k WORD, -n 0 …)
	$(PYTHON) -m pytest -n 2 --dist worksteal $(ARGS)

test-thorough: $(STAMP) ## Run the tests that take long: marked so, and more seeds of others (ARGS go to pytest; PART=2/8)
	STRANGLE_THOROUGH=$(PART) $(PYTHON) -m pytest -n 2 --dist worksteal -m thorough $(ARGS)

chaos: $(STAMP) ## Kill everything at random while a context moves, and compare (RUNS, SEED, CELL, MINUTES, ARGS)
	$(PYTHON) -m tests.chaos --runs $(RUNS) $(if $(SEED),--seed $(SEED)) $(if $(CELL),--cell $(CELL)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

chaos-shop: $(STAMP) ## Buy from the shop of services while all of it is struck, and audit (ARGS="--checkouts 400 --transport redis")
	$(PYTHON) -m tests.chaos.shop $(ARGS)

chaos-sagas: $(STAMP) ## Play checkouts of the three services at random over real databases, with crashes, and audit (RUNS, SEED)
	$(PYTHON) -m tests.sagas --runs $(RUNS) $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-table: $(STAMP) ## Measure the crash points anew and write docs/reference/fault-matrix.md (ARGS="--forget")
	$(PYTHON) -m tests.chaos.page $(ARGS)

bench-transfer: $(STAMP) ## Measure copy, verification and sync beside their limits and peers (ARGS="--rows 1000000 --rounds 3")
	$(PYTHON) -m benchmarks $(ARGS)

bench-proxy: $(STAMP) ## Measure the proxy beside others, its flips and its held writes (ARGS="--seconds 3 --rounds 3 --cutovers 40")
	$(PYTHON) -m benchmarks.proxy $(ARGS)

bench-scaling: $(STAMP) ## Measure what more relays, consumers, workers, proxies and a pooler give (ARGS="--only backfill --rounds 3")
	$(PYTHON) -m benchmarks.scaling $(ARGS)

bench-messaging: $(STAMP) ## Measure capture, relay, transports and their latency beside limits and a peer (ARGS="--rows 32000 --seconds 10")
	$(PYTHON) -m benchmarks.messaging $(ARGS)

lint: $(STAMP) ## Check style, types and import contracts: ruff, mypy --strict, import-linter
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(VENV)/bin/lint-imports

format: $(STAMP) ## Rewrite the files in the house style
	$(PYTHON) -m ruff check --fix --exit-zero .
	$(PYTHON) -m ruff format .

docs: $(STAMP) ## Build the documentation's site into var/docs; a warning is an error (ARGS go to sphinx-build)
	$(PYTHON) -m sphinx -W --keep-going -q -c docs -b html -d var/docs-doctrees . var/docs $(ARGS)

wheel: $(STAMP) ## Build the wheel into dist/
	$(PYTHON) -m build --wheel --no-isolation --outdir dist

dist: $(STAMP) ## Build wheel and source distribution into dist/, the same bytes from the same sources
	$(PYTHON) -m build --no-isolation --outdir dist

venv: $(STAMP) ## Make or refresh the virtual environment in .venv from requirements.lock
	@echo "$(VENV) holds what requirements.lock says"

# django-strangler's extras name each other; --unsafe-package keeps the project itself out of its lock file.
lock: $(STAMP) ## Pin again what pyproject.toml asks for (ARGS="--upgrade" for newer releases)
	CUSTOM_COMPILE_COMMAND="make lock" $(PYTHON) -m piptools compile pyproject.toml --extra dev --output-file requirements.lock \
		--quiet --generate-hashes --strip-extras --unsafe-package django-strangler \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options $(ARGS)
	@sed -i.old '/^# WARNING: The following packages were not pinned/,$$d' requirements.lock && rm -f requirements.lock.old

clean: ## Remove what was built, cached or written by a demo; the virtual environment stays
	rm -rf build dist var .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(STAMP):
	@test -n "$(BASE_PYTHON)" || { echo "no Python found; apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -m pip --version > /dev/null 2>&1 || $(BASE_PYTHON) -m venv --clear $(VENV)
	@echo "installing requirements.lock into $(VENV)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@rm -f $(VENV)/installed-*
	@touch $@
