# The index of everything one can do here. `make` alone prints it; each target says what it does after its `##`.
# Anything longer than a line lives in scripts/.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The application, for `make up` and `make run` alike: its folder, and module:attribute seen from there. The folder is
# named APP on the command line of make only; in the environment and in .env, where others use that name, APP_SOURCE.
ifeq ($(origin APP),command line)
export APP_SOURCE := $(APP)
endif
APP_SOURCE ?= ./examples/raw
PRONGHORN_APP ?= main:app

##@ The stack (containers)

.PHONY: up
up: ## Build and start the whole stack, and wait until it answers (APP=folder: your application)
	@scripts/stack up

.PHONY: observability
observability: ## The same with Prometheus, its alerts, and Grafana (docs/observability.md)
	@COMPOSE_PROFILES=observability scripts/stack up

.PHONY: deploy
deploy: ## Put the newest version in the place of the one that serves, and lose no request (APP=folder)
	@scripts/stack deploy

.PHONY: rollback
rollback: ## Put the version from before the last deploy back
	@scripts/stack rollback

.PHONY: down
down: ## Stop the stack and remove its containers, networks and volumes
	@scripts/stack down

.PHONY: logs
logs: ## Follow the logs of the stack
	@scripts/stack logs

.PHONY: status
status: ## Print the address of the running stack's status page, for a browser on this machine
	@scripts/stack status

.PHONY: doctor
doctor: ## Look at the running stack, and say what is wrong with it and the way out
	@scripts/stack doctor

.PHONY: build
build: ## Build the images without starting anything
	@scripts/stack build

.PHONY: smoke
smoke: $(READY) ## Ask a running deployment whether it keeps the contract (URL=https://...: another than the stack's)
	@$(BIN)/python scripts/smoke $(or $(URL),$$(scripts/stack url)) $(SMOKE_ARGS)

.PHONY: dev
dev: ## Serve the application's folder in a container that starts anew when a file changes (APP=folder DEV_PORT=8000)
	@scripts/stack dev

.PHONY: sbom
sbom: $(READY) ## Write what is in both images, as CycloneDX: build/pronghorn.cdx.json, build/pronghorn-nginx.cdx.json
	@$(BIN)/python scripts/sbom "$${PRONGHORN_IMAGE:-pronghorn:latest}" build/pronghorn.cdx.json
	@$(BIN)/python scripts/sbom "$${PRONGHORN_NGINX_IMAGE:-pronghorn-nginx:latest}" build/pronghorn-nginx.cdx.json

##@ This machine (systemd)

.PHONY: install-systemd
install-systemd: ## Install the server and its units, start nothing (PREFIX=/usr/local, DESTDIR=folder for a package)
	@scripts/install-systemd install

.PHONY: uninstall-systemd
uninstall-systemd: ## Stop and remove what that installed, but for what somebody has changed (PREFIX=, DESTDIR= as above)
	@scripts/install-systemd uninstall

.PHONY: deb
deb: ## Build the Debian package: build/pronghorn_VERSION_ARCH.deb (docs/debian.md)
	@scripts/deb

##@ Development (a virtual environment)

.PHONY: setup
setup: $(READY) ## Make the virtual environment with the newest usable Python (every target below does it by itself)
	@:

.PHONY: run
run: $(READY) ## Serve an application on http://127.0.0.1:8000 without containers (APP=folder RUN_ARGS="--port 9000")
	@$(BIN)/pronghorn $(PRONGHORN_APP) --app-dir $(APP_SOURCE) $(RUN_ARGS)

.PHONY: format
format: $(READY) ## Format the code and apply the safe fixes
	@scripts/lint --fix

.PHONY: docs
docs: $(READY) ## Write docs/reference/ anew from the code
	@$(BIN)/python scripts/reference

.PHONY: lock
lock: $(READY) ## Renew requirements/*.txt from pyproject.toml (LOCK_ARGS=--upgrade takes the newest versions)
	@scripts/lock $(LOCK_ARGS)

##@ Checks

.PHONY: test
test: $(READY) ## Run every kind of test, with a summary at the end
	@$(BIN)/python scripts/test unit+conformance+systemd integration drills

.PHONY: test-unit
test-unit: $(READY) ## Run the unit tests
	@$(BIN)/python scripts/test unit

.PHONY: test-conformance
test-conformance: $(READY) ## Run the conformance tests: golden requests against every parser, Autobahn against every codec
	@$(BIN)/python scripts/test conformance

.PHONY: test-integration
test-integration: $(READY) ## Run the integration tests: the shipped compose file, for real
	@$(BIN)/python scripts/test integration

.PHONY: test-systemd
test-systemd: $(READY) ## Run the tests of the units, on a machine with a real systemd
	@$(BIN)/python scripts/test systemd

.PHONY: jitter
jitter: $(READY) ## Run a kind of test while its processes stop now and then, to find what passes by chance (KIND=unit)
	@$(BIN)/python scripts/jitter --containers $(BIN)/python scripts/test $(or $(KIND),unit)

.PHONY: autobahn
autobahn: $(READY) ## Run every case of the Autobahn test suite against every WebSocket codec
	@AUTOBAHN=all $(BIN)/python scripts/test autobahn

.PHONY: fuzz
fuzz: ## Fuzz the parsers and whole connections, led by coverage (FUZZ_SECONDS=60 for each of both)
	@scripts/fuzz $(FUZZ_ARGS)

.PHONY: loadtest
loadtest: ## Put load on the running stack and check thresholds (URL=https://..., LOADTEST_USERS=200 LOADTEST_DURATION=5m)
	@scripts/loadtest $(URL)

.PHONY: loadtest-ui
loadtest-ui: ## The same with Locust's web UI, on http://127.0.0.1:8089/ (LOADTEST_PORT)
	@scripts/loadtest --ui $(URL)

.PHONY: knee
knee: $(READY) ## Find at how many requests a second p99 passes a limit (KNEE_ARGS="--limit 100 --app folder", URL=http://...)
	@$(BIN)/python -m loadtest.knee $(if $(URL),--url $(URL)) $(KNEE_ARGS)

.PHONY: overload
overload: $(READY) ## Ask for three times what is carried, and see what is served (OVERLOAD_ARGS="--capacity 400")
	@$(BIN)/python -m loadtest.overload $(if $(URL),--url $(URL)) $(OVERLOAD_ARGS)

.PHONY: capacity
capacity: $(READY) ## Both for Pronghorn and for uvicorn in the same stack, side by side (CAPACITY_ARGS="--limit 100")
	@$(BIN)/python -m loadtest.capacity $(CAPACITY_ARGS)

.PHONY: soak
soak: $(READY) ## Load a stack with all kinds of users for SOAK_MINUTES (60), and see whether anything grows
	@$(BIN)/python -m loadtest.soak $(SOAK_ARGS)

.PHONY: lint
lint: $(READY) ## Check style, types and shell scripts; change nothing
	@scripts/lint

.PHONY: audit
audit: $(READY) ## Ask for known vulnerabilities of what is locked and of what is in the images
	@scripts/audit

.PHONY: bench
bench: ## Compare CPU time per request with other servers, in turns (BENCH_ARGS=--quick, BENCH_PYTHON=python3.13)
	@exec "$$(scripts/python)" -m scripts.bench $(BENCH_ARGS)

.PHONY: bench-check
bench-check: ## Compare instructions per request with the committed numbers (BENCH_ARGS=--update writes them)
	@exec "$$(scripts/python)" -m scripts.bench.check $(BENCH_ARGS)

.PHONY: drill
drill: $(READY) ## Have accidents befall the stack under load, and say what each costs (DRILL=worker-killed: that one alone)
	@$(BIN)/python scripts/test drills $(if $(DRILL),-- -k test_$(subst -,_,$(DRILL)))

.PHONY: drill-servers
drill-servers: ## The same to workers of several servers, side by side (DRILLS_ARGS="--servers pronghorn --drills kill")
	@exec "$$(scripts/python)" -m scripts.drills $(DRILLS_ARGS)

##@ Housekeeping

.PHONY: clean
clean: ## Remove environments, caches and build results; containers are `make down`
	@rm -rf .venv .venv-bench* .venv-fuzz .venv-loadtest .bench .fuzz build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## Print this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Newer than the lock it was made from, or made again. The package itself is installed in place, so that the
# `pronghorn` command runs what is in server/.
$(READY): requirements/dev.txt pyproject.toml
	@scripts/venv $(VENV) requirements/dev.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-index --no-deps --no-build-isolation --editable .
	@touch $@
