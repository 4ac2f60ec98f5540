# Everything that is done here, by name. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3.11
PROJECT ?= bookings
VENV ?= .venv
PEERS := .venv-peers
SERVING_PEERS := .venv-serving
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export FUSELINE_STORE ?= store
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup reports demo data simulate train retrain infer feedback alert report dashboard serve infra test test-localstack \
  test-stack check bench clean lock bench-breaker peers \
  bench-serve serving-peers

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PROJECT=bookings chooses the project, FUSELINE_STORE=store the store"

setup: $(READY) ## make .venv from the lock

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here: make PYTHON=/path/to/python3.11 (or newer)"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

reports: $(READY) ## add Evidently: its opinion then stands on the page of each batch
	$(BIN)/pip install --quiet --require-hashes -r requirements-reports.lock

HISTORY_bookings := data/generated/history.parquet
HISTORY_leads := data/generated/leads/history.parquet
HISTORY_claims := data/generated/claims/history.csv
HISTORY_tiles := data/generated/tiles/history.parquet
HISTORY := $(HISTORY_$(PROJECT))

$(HISTORY_bookings): data/generate.py | $(READY)
	$(BIN)/python data/generate.py --out data/generated

data/generated/%/history.parquet data/generated/%/history.csv: data/%.py | $(READY)
	$(BIN)/python $< --out $(@D) $(if $(filter claims,$*),$(CLAIMS:%=--from %))

data: $(HISTORY) ## make up the data of PROJECT: bookings, leads, claims (CLAIMS=file.csv: a real file) or tiles

simulate: $(READY) ## deliver the next made-up day of `bookings` to the store, and labels of older days
	$(BIN)/python data/simulate.py

demo: $(READY) ## the whole story: train, score 20 days, two incidents, recover
	$(BIN)/python data/demo.py

train: $(READY) $(HISTORY) ## train a version of PROJECT; the gate promotes or holds it
	$(BIN)/fuseline train $(PROJECT)

retrain: $(READY) $(HISTORY) ## train PROJECT if a new version is asked for
	$(BIN)/fuseline train $(PROJECT) --if-asked

infer: $(READY) ## score what waits in the inbox of PROJECT
	$(BIN)/fuseline infer $(PROJECT)

feedback: $(READY) ## read the labels that came for PROJECT
	$(BIN)/fuseline feedback $(PROJECT)

alert: $(READY) ## send the alerts of PROJECT that are owed, and look whether a batch is overdue
	$(BIN)/fuseline alert $(PROJECT)

report: $(READY) ## make the pages of PROJECT again
	$(BIN)/fuseline report $(PROJECT)

dashboard: $(READY) ## serve the pages live on http://127.0.0.1:8080
	$(BIN)/fuseline dashboard

serve: $(READY) ## serve the champion of PROJECT on http://127.0.0.1:8000, with a page, /docs and /metrics
	$(BIN)/fuseline serve $(PROJECT)

infra: ## apply deployment/terraform by hand (TF_ARGS="-var=…"; deployment/terraform/README.md)
	terraform -chdir=deployment/terraform init -input=false
	terraform -chdir=deployment/terraform apply $(TF_ARGS)

COVER ?= --cov --cov-report=term
test: $(READY) ## every test, with branch coverage (COVER= : without, which takes a third less)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal $(COVER) $(TESTS)

test-localstack: $(READY) ## the tests that talk to S3, on LocalStack (it needs Python 3.12 or 3.13, or Docker)
	OMP_NUM_THREADS=1 $(BIN)/python tests/localstack.py $(TESTS)

test-stack: $(READY) ## the compose stack for real: publish, halt, alert, recover, lose the store, come back (needs Docker)
	FUSELINE_TEST_STACK=1 $(BIN)/python -m pytest -s tests/stack

check: $(READY) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## measure scoring against a plain script; JSON and a table
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/end_to_end.py

COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

bench-breaker: $(READY) ## measure what the breaker halts, beside other rules (`make peers` first for all of them)
	$(if $(wildcard $(PEERS)/.ready),$(PEERS),$(VENV))/bin/python benchmarks/breaker/run.py $(BREAKER)

peers: $(PEERS)/.ready ## an environment of its own with the libraries that the breaker is compared with (2 GB)

$(PEERS)/.ready: requirements.lock requirements-reports.lock benchmarks/breaker/requirements-peers.txt
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/pip install --quiet --require-hashes -r requirements.lock
	$(PEERS)/bin/pip install --quiet --require-hashes -r requirements-reports.lock
	$(PEERS)/bin/pip install --quiet --no-deps -r benchmarks/breaker/requirements-peers.txt
	$(PEERS)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

bench-serve: $(READY) ## measure `fuseline serve` beside other servers (`make serving-peers` first for all of them; wrk if it is there)
	$(BIN)/python benchmarks/serving.py --peers $(SERVING_PEERS) $(SERVE)

serving-peers: $(SERVING_PEERS)/.ready ## an environment of its own with LitServe, MLServer and BentoML (600 MB)

$(SERVING_PEERS)/.ready: benchmarks/requirements-serving-peers.txt
	$(PYTHON) -m venv --clear $(SERVING_PEERS)
	$(SERVING_PEERS)/bin/pip install --quiet -r benchmarks/requirements-serving-peers.txt
	@touch $@

lock: $(READY) ## resolve the locks again, with hashes and without addresses
	$(COMPILE) --extra dev --extra serve --extra images --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra serve --all-build-deps --constraint requirements.lock --output-file requirements-image.lock pyproject.toml
	$(COMPILE) --extra reports --constraint requirements.lock --output-file requirements-reports.lock pyproject.toml
	$(COMPILE) --output-file requirements-localstack.lock requirements-localstack.in

clean: ## remove what was made: .venv, caches, generated data, the local store
	rm -rf $(VENV) .venv-localstack .venv-serving store data/generated build dist .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
