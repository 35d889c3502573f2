# The commands of this project. `make run` and `make test` need nothing but Debian or Ubuntu, Python 3.11+, git and make.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

run: $(READY) ## Set everything up and start Holdfast
	@exec $(BIN)/holdfast up

test: $(READY_DEV) ## Set everything up and run all tests
	$(BIN)/pytest -q -n 2 --dist loadfile

quick: $(READY_DEV) ## The tests that take seconds
	$(BIN)/pytest -q -m "not slow and not browser"

lint: $(READY_DEV) ## Style, types, import contracts, templates
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djlint --lint --quiet templates

bench: $(READY_DEV) ## Measure backups side by side; BENCH_DB_MB, BENCH_FILES_MB, BENCH_ROUNDS
	$(BIN)/python -m bench.backup

bench-load: $(READY_DEV) ## 500 jobs due in the same minute
	$(BIN)/python -m bench.load

bench-drill: $(READY_DEV) ## A restore drill beside psql and pg_restore; BENCH_DB_MB, BENCH_FILES_MB, BENCH_ROUNDS
	$(BIN)/python -m bench.drill

bench-hosts: $(READY_DEV) ## Snapshots beside plain rsync --link-dest; BENCH_FILES, BENCH_MB, BENCH_ROUNDS
	$(BIN)/python -m bench.hosts

proof-crash: $(READY_DEV) ## Kill the worker at every system call of a run's commit path, and at random
	$(BIN)/python -m tests.proof.crash

proof-integrity: $(READY_DEV) ## Damage archives in thousands of ways: every one is flagged, none is restored
	$(BIN)/python -m tests.proof.integrity $(INTEGRITY_FLAGS)

proof-restore: $(READY_DEV) ## Restore 200 busy databases and compare; kill 200 restores, and one at every call of the swap
	$(BIN)/python -m tests.proof.restores $(RESTORE_FLAGS)

proof-retention: $(READY_DEV) ## Walk 100,000 steps of backups, clocks, policies, people and kills: RETENTION_STEPS
	$(BIN)/python -m tests.proof.retention_machine --steps $(or $(RETENTION_STEPS),100000)

proof-hosts: $(READY_DEV) ## Kill snapshots, promotions, prunings and discoveries; compare every tree: HOSTS_FLAGS
	$(BIN)/python -m tests.proof.hosts $(HOSTS_FLAGS)

screenshots: $(READY_DEV) ## Remake docs/screenshots/ with the browser tests
	HOLDFAST_SCREENSHOTS=docs/screenshots $(BIN)/pytest -q tests/browser -m browser

lock: $(READY_DEV) ## Renew the lock files
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --group dev -o requirements-dev.lock pyproject.toml

vendor: $(READY_DEV) ## Fetch the vendored files again, as static/vendor/MANIFEST.json says (needs npm)
	$(BIN)/python -m tests.house.vendor

clean: ## Remove what was built here; keeps ./var
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info

$(READY): requirements.lock pyproject.toml
	@.ci/packages run
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

$(READY_DEV): requirements-dev.lock pyproject.toml
	@.ci/packages test
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@ $(READY)

.PHONY: help run test quick lint bench bench-load bench-drill bench-hosts proof-crash proof-restore proof-retention proof-integrity proof-hosts screenshots lock vendor clean
