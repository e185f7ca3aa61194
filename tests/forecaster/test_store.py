"""The store: what it holds, and whom it tells."""

from __future__ import annotations

from typing import Any

from cloudpulse.testing import FakeClock
from forecaster.store import ForecastStore, Issue
from tests.forecaster.test_anomaly import BAND, issue


def test_every_change_is_told_whatever_another_listener_does(logged: list[dict[str, Any]]) -> None:
    store = ForecastStore(FakeClock(0.0))
    heard: list[tuple[str, bool, bool]] = []

    def broken(name: str, issue: Issue | None, anew: bool) -> None:
        raise RuntimeError("a bug")

    store.listen(broken)
    store.listen(lambda name, told, anew: heard.append((name, told is not None, anew)))
    store.put(issue([BAND], [100]))
    store.refresh("web", 1.0)
    store.drop("web")
    assert heard == [("web", True, True), ("web", True, False), ("web", False, False)]
    assert [line["event"] for line in logged].count("change not told") == 3


def test_nothing_is_told_of_a_forecast_that_there_is_not() -> None:
    store = ForecastStore(FakeClock(0.0))
    heard: list[str] = []
    store.listen(lambda name, told, anew: heard.append(name))
    store.refresh("web", 1.0)
    assert heard == []
