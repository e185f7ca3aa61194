"""A real Prometheus that reads the future from here: two apps with a known past, and what is forecast for them."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cramjam
import numpy as np
import pytest
import requests
from flask import Flask

from cloudpulse.local import past
from cloudpulse.serving import Environ, StartResponse
from cloudpulse.testing import FakeClock, serving
from forecaster.curves import Curves
from forecaster.remoteread import app as remoteread
from forecaster.remoteread import remote_pb2
from forecaster.store import ForecastStore
from forecaster.testing import issue

APPS = ({"app": "shop", "zone": "a"}, {"app": "search"})
LEVELS = (0.1, 0.5, 0.9)
SETTINGS = """
global:
  evaluation_interval: 1s
  external_labels: {{cluster: lab}}
rule_files: [{rules}]
remote_read:
  - url: {url}/api/v1/read
    read_recent: true
    filter_external_labels: false
    required_matchers: {{__name__: cloudpulse_forecast_curve}}
  - url: http://127.0.0.1:1/api/v1/read
    read_recent: true
    required_matchers: {{__name__: nobody_answers}}
"""
RULES = """
groups:
  - name: ahead
    rules:
      - record: app:demand_ahead:max
        expr: max by (app) (max_over_time(cloudpulse_forecast_curve{forecast="demand", level="0.9"}[12h] offset -12h))
      - alert: DemandAhead
        expr: max_over_time(cloudpulse_forecast_curve{forecast="demand", level="0.9"}[24h] offset -24h) > 2000
"""


@dataclass
class Future:
    """What is forecast: at minute m from `start` app i's level k is `1000 * i + m + 100 * k`."""

    url: str
    start: int
    asked: list[remote_pb2.ReadRequest] = field(default_factory=list)
    down: bool = False

    def path(self, app: int, level: int, seconds: float) -> float:
        """The value of the newest point at `start + seconds`."""
        return 1000 * app + seconds // 60 + 100 * level

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=20).json()
        assert answer["status"] == "success", answer
        return dict(answer)

    def instant(self, query: str, at: float | None = None) -> dict[str, float]:
        """Value by app."""
        moment = self.start if at is None else at
        found = self.get("query", query=query, time=f"{moment:.3f}")["data"]["result"]
        return {one["metric"].get("app", ""): float(one["value"][1]) for one in found}

    def range(self, query: str, start: float, end: float, step: float) -> dict[str, list[tuple[float, float]]]:
        found = self.get("query_range", query=query, start=start, end=end, step=step)["data"]["result"]
        return {one["metric"].get("app", ""): [(float(t), float(v)) for t, v in one["values"]] for one in found}


def demand(app: int, time: float) -> float:
    """The past of an app."""
    return 500.0 * (app + 1) + time % 3600 / 60


@pytest.fixture(scope="module")
def future(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future]:
    folder = tmp_path_factory.mktemp("future")
    now = int(time.time()) // 60 * 60
    known = Future("", now + 60)
    with serving(_counted(known)) as reads:
        rules = folder / "rules.yml"
        rules.write_text(RULES)
        with past.prometheus(_past(now), folder / "prometheus", SETTINGS.format(rules=rules, url=reads)) as url:
            known.url = url
            yield known


def _past(now: int) -> Iterator[str]:
    yield "# TYPE cloudpulse_demo_requests_per_minute gauge\n"
    for i, labels in enumerate(APPS):
        block = ",".join(f'{name}="{value}"' for name, value in labels.items())
        for moment in range(now - 26 * 3600, now + 1, 60):
            yield f"cloudpulse_demo_requests_per_minute{{{block}}} {demand(i, moment)} {moment}\n"
    yield "# TYPE odd gauge\n"
    for moment, value in odd(now):
        yield f"odd {value!r} {moment}\n"
    yield "# EOF\n"


def odd(now: int) -> list[tuple[float, float]]:
    """Irregular times and values of all kinds, for whoever decodes them."""
    random = np.random.default_rng(7)
    times = now - 9000 + np.cumsum(random.choice([0.001, 0.5, 5.0, 5.0, 5.0, 8.1925, 30.0], 500))
    values = random.choice([0.0, -0.0, 1.0, 1.0, 0.1, -1e300, 5e-324, 12345.678], 500) * random.choice([1, 1, 1.5], 500)
    return [(round(float(t), 3), float(v)) for t, v in zip(times, values, strict=True)]


def _counted(known: Future) -> Any:
    """The read endpoint over a store with known forecasts that never age."""
    store = ForecastStore(FakeClock(float(known.start)))
    minutes = np.arange(1500.0)
    apps, levels = 1000.0 * np.arange(len(APPS)), 100.0 * np.arange(len(LEVELS))
    values = apps[:, None, None] + minutes[None, :, None] + levels[None, None, :]
    store.put(issue("demand", APPS, values, start=known.start))
    hours = 60.0 * np.arange(40)
    store.put(issue("hourly", ({"app": "shop"},), hours.reshape(1, -1, 1), start=known.start, step=3600, levels=(0.5,)))
    app = Flask("reads")
    app.register_blueprint(remoteread.blueprint(Curves(store), lambda *_: None))

    def answer(environ: Environ, start_response: StartResponse) -> Any:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        known.asked.append(remote_pb2.ReadRequest.FromString(bytes(cramjam.snappy.decompress_raw(body))))
        if known.down:
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return []
        return app.wsgi_app({**environ, "wsgi.input": io.BytesIO(body)}, start_response)

    return answer
