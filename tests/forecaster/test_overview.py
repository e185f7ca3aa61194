"""The overview and one series' story, as the console and programs get them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from cloudpulse.promql import Series
from cloudpulse.testing import FakeSource
from forecaster.app import create_app
from forecaster.config import Threshold
from forecaster.earlier import Earlier
from forecaster.rounds import Rounds
from tests.forecaster.conftest import Bench


class Running:
    """A bench, and the HTTP face of what it forecasts; the pipeline is driven by hand."""

    def __init__(self, bench: Bench, remembered: Callable[[str], list[Series]] = lambda _: []) -> None:
        self.bench = bench
        self.prometheus = FakeSource(remembered, bench.clock)
        rounds = Rounds(lambda _: bench.pipeline, bench.store, bench.meters, bench.clock)
        self.client: FlaskClient = create_app(bench.store, rounds, bench.clock, Earlier(self.prometheus)).test_client()

    def overview(self) -> Any:
        return self.client.get("/api/v1/overview").get_json()

    def story(self, row: Any, past: str = "24h") -> Any:
        return self.client.get(f"/api/v1/forecasts/rps/series/{row['id']}?past={past}").get_json()


def test_the_overview_has_every_forecast_and_a_row_for_each_series(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(thresholds=(Threshold(value=1.0),))
    bench.serve(3)
    bench.rounds(2)
    answer = Running(bench).overview()
    (forecast,) = answer["forecasts"]
    assert forecast["name"] == "rps"
    assert forecast["series_count"] == 3
    assert len(answer["rows"]) == 3
