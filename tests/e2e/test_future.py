"""The local stack's own Prometheus sees the future."""

from __future__ import annotations

import time

import pytest
import requests

from cloudpulse.names import FORECAST_CURVE
from tests.e2e.conftest import Running, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_the_curve_goes_on_beyond_now(running: Running) -> None:
    """As `cloudpulse up` configures it: nobody has to do anything."""
    url = running.url("prometheus", "/api/v1/query_range")
    now = time.time()
    query = f'{FORECAST_CURVE.name}{{forecast="demand", level="0.9"}}'
    parameters = {"query": query, "start": now, "end": now + 86400, "step": 300}

    def ahead() -> list[float]:
        result = requests.get(url, params=parameters, timeout=10).json()["data"]["result"]
        return [float(one["values"][-1][0]) for one in result]

    ends = until(ahead, 90, "a curve")
    assert min(ends) > now + 23 * 3600
