"""How far ahead to scale, and on which quantile, where nobody says: the defaults of the scaler and of a simulation."""

from __future__ import annotations

DEFAULT_LEVEL = 0.9
"""Room for nine cases of ten."""

DEFAULT_READY_SECONDS = 120.0
"""What a new pod takes to serve, where that isn't measured."""

MARGIN_SECONDS = 120.0
"""Beside the pod's own time: for the load to be measured, forecast and scraped, and for the HPA to come by."""


def horizon_seconds(ready_seconds: float) -> float:
    """`horizon: auto`: how far ahead to look so that what is started now is ready when it is needed."""
    return ready_seconds + MARGIN_SECONDS
