from __future__ import annotations

from collections import Counter as Count

import pytest
from prometheus_client import CollectorRegistry

from cloudpulse import names
from cloudpulse.exposition import encode
from cloudpulse.names import Definition

DEFINITIONS = tuple(names.definitions())
BASE_UNITS = ("seconds", "bytes", "ratio", "hertz")
NO_BASE_UNITS = ("milliseconds", "ms", "minutes", "hours", "kilobytes", "megabytes", "mhz", "percent")


def _identifier(definition: Definition) -> str:
    return definition.name


def test_every_name_stands_once() -> None:
    assert len(DEFINITIONS) > 50
    assert [name for name, count in Count(d.name for d in DEFINITIONS).items() if count > 1] == []


@pytest.mark.parametrize("definition", DEFINITIONS, ids=_identifier)
def test_a_name_has_our_prefix_a_help_and_legal_labels(definition: Definition) -> None:
    assert definition.name.startswith("cloudpulse_")
    assert definition.help.endswith(".")
    assert len(set(definition.labels)) == len(definition.labels)
    # `le` and `quantile` belong to histograms and summaries; `job` and `instance` to the scrape.
    assert not {"le", "quantile", "job", "instance", "__name__"} & set(definition.labels)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=_identifier)
def test_counters_and_only_counters_end_in_total(definition: Definition) -> None:
    assert definition.name.endswith("_total") == (definition.kind == "counter")


@pytest.mark.parametrize("definition", DEFINITIONS, ids=_identifier)
def test_units_are_base_units_and_stand_last(definition: Definition) -> None:
    words = definition.name.removesuffix("_total").split("_")
    assert not set(NO_BASE_UNITS) & set(words)
    assert not set(BASE_UNITS) & set(words[:-1])


@pytest.mark.parametrize("definition", DEFINITIONS, ids=_identifier)
def test_a_definition_makes_the_metric_that_it_describes(definition: Definition) -> None:
    registry = CollectorRegistry()
    values = ["x"] * len(definition.labels)
    if definition.kind == "counter":
        counter = definition.counter(registry)
        (counter.labels(*values) if values else counter).inc()
    elif definition.kind == "histogram":
        histogram = definition.histogram(registry, (1.0,))
        (histogram.labels(*values) if values else histogram).observe(0.5)
    else:
        gauge = definition.gauge(registry)
        (gauge.labels(*values) if values else gauge).set(1)
    page = encode(registry.collect()).decode()
    assert f"# TYPE {definition.name} {definition.kind}\n" in page
    assert all(f'{label}="x"' in page for label in definition.labels)


def test_the_local_demand_is_not_among_the_services() -> None:
    services = ("node_", "exporter_", "forecast_", "forecaster_", "alert_bridge_", "scaler_", "build_")
    services += ("config_", "web_config_", "audit_", "metrics_", "spans_")
    others = [d.name for d in DEFINITIONS if not d.name.removeprefix("cloudpulse_").startswith(services)]
    assert others == [names.DEMO_REQUESTS.name]
