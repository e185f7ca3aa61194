"""`horizon: auto`."""

from __future__ import annotations

from cloudpulse.ahead import MARGIN_SECONDS, horizon_seconds


def test_a_horizon_covers_the_pods_start_the_margin_and_the_step_that_is_forecast() -> None:
    assert horizon_seconds(120) == 120 + MARGIN_SECONDS + 60
    assert horizon_seconds(30, 300) == 30 + MARGIN_SECONDS + 300
