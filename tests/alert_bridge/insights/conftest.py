"""A real Prometheus with the past of `surge`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from cloudpulse.config import PrometheusSettings
from cloudpulse.local import past
from cloudpulse.promql import Prometheus
from tests.alert_bridge.insights import surge


@pytest.fixture(scope="session")
def prometheus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("prometheus") is None:
        pytest.skip("needs Prometheus on PATH")
    with past.prometheus(surge.story().lines(), tmp_path_factory.mktemp("past")) as url:
        yield url


@pytest.fixture
def source(prometheus_url: str) -> Iterator[Prometheus]:
    prometheus = Prometheus(PrometheusSettings(url=prometheus_url))
    yield prometheus
    prometheus.close()
