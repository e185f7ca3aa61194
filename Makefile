# `make up` runs CloudPulse on this machine; `make test` runs everything that CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt

.PHONY: up test format lint types imports rules unit e2e fuzz kill bench bench-exporter bench-forecast bench-history pretrain proto dashboards programs test-programs screenshots clean

up: $(VENV)/all programs
	@$(BIN)/cloudpulse up --demo

# Two at a time where neither needs the other: packages come from pip while apt works, mypy keeps one core busy.
test:
	@$(MAKE) --jobs 2 $(VENV)/dev test-programs
	@$(MAKE) --jobs 2 types lint imports rules
	@$(MAKE) unit e2e
	@echo "make test: everything passed"

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/dev
	$(BIN)/mypy

imports: $(VENV)/dev
	$(BIN)/lint-imports --no-cache

rules: programs
	promtool check config --syntax-only prometheus/prometheus.yml
	promtool check rules prometheus/rules/*.yml examples/rules/*.yml
	promtool test rules tests/prometheus/*_test.yml

# A third of the time is waiting: three processes keep two cores busy.
unit: $(VENV)/dev test-programs
	$(BIN)/pytest -q -m "not e2e" --numprocesses 3 --dist loadfile

e2e: $(VENV)/dev test-programs
	$(BIN)/pytest -q -m e2e --numprocesses 2 --dist loadfile

# The pictures of the console in docs/: two days of the demo in a minute or two, on one's own chromium.
screenshots: $(VENV)/dev
	$(BIN)/python -m tests.forecaster.pictures

# What `unit` tries with few cases, with many: nothing that a client sends may break a service or open it. An hour.
fuzz: $(VENV)/dev
	CLOUDPULSE_FUZZ_CASES=10000 $(BIN)/pytest -q --timeout=3600 tests/test_hostile_clients.py tests/scaler/test_fuzz.py
	CLOUDPULSE_FUZZ_CASES=500 $(BIN)/pytest -q --timeout=3600 tests/alert_bridge/test_openapi.py

# What `unit` tries with three rounds, with 200: a bridge that is killed at any moment loses no alert.
kill: $(VENV)/dev test-programs
	CLOUDPULSE_KILL_ROUNDS=200 $(BIN)/pytest -q -s --timeout=3600 tests/alert_bridge/test_killed.py

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Anew after a change of the .proto; protobuf in pyproject.toml must be at least what the first lines then say.
proto: $(VENV)/dev
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. scaler/keda/externalscaler.proto forecaster/remoteread/remote.proto

# grafana/dashboards/*.json anew after a change of grafana/; a test says when they aren't what the code makes.
dashboards: $(VENV)/dev
	$(BIN)/python -m grafana

bench-forecast: $(VENV)/dev
	@mkdir -p build
	$(BIN)/python ../shared/bench/forecast_bench.py --command "$(BIN)/python benchmarks/held_out.py ../shared/data/catalog.csv" --json build/forecast.json

pretrain: $(VENV)/dev
	$(BIN)/python -m pretraining --data ../shared/data
	$(BIN)/python -m pretraining --data ../shared/data --leave-out each

bench: $(VENV)/dev test-programs
	$(BIN)/python benchmarks/exposition.py
	$(BIN)/python -m benchmarks.exporter
	$(BIN)/python -m benchmarks.slowloris
	$(BIN)/python -m benchmarks.storm
	$(BIN)/python -m benchmarks.stream
	$(BIN)/python -m benchmarks.insight
	$(BIN)/python -m benchmarks.console_page
	$(BIN)/python benchmarks/scaler.py
	$(BIN)/python -m benchmarks.keda
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python -m benchmarks.queryapi
	$(BIN)/python benchmarks/forecast.py
	$(BIN)/python benchmarks/cold.py
	$(BIN)/python benchmarks/truth.py
	$(BIN)/python -m benchmarks.curves
	$(BIN)/python -m benchmarks.console
	$(BIN)/python -m benchmarks.rules

# Every bar of the exporter beside Debian's node_exporter (apt-get install prometheus-node-exporter): three minutes.
bench-exporter: $(VENV)/dev
	$(BIN)/python -m benchmarks.exporter

# A million alerts and as many notifications, and 100,000 alerts one after the other: about ten minutes.
bench-history: $(VENV)/dev test-programs
	$(BIN)/python -m benchmarks.history
	$(BIN)/python -m benchmarks.storm --of plain --alerts 100000

# A real Prometheus and Alertmanager: those on PATH, else Debian's.
programs:
	@sh .ci/programs

# What the tests start beside them: a real PostgreSQL, Chromium and node_exporter.
test-programs:
	@sh .ci/programs test

$(VENV)/bin/python:
	@echo "CloudPulse: making a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "CloudPulse needs Python 3.11 or newer; name one with: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/all: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "CloudPulse: installing Python packages (a few minutes the first time)"
	@$(PIP) --editable '.[all]'
	@touch $@

# Not compiled ahead: a minute for modules of which tests import a third.
$(VENV)/dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "CloudPulse: installing Python packages (a few minutes the first time)"
	@$(PIP) --no-compile --editable '.[dev]'
	@touch $@ $(VENV)/all

clean:
	rm -rf $(VENV) data build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
