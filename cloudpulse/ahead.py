"""How far ahead to scale, and on which quantile, where nobody says: the defaults of the scaler and of a simulation."""

from __future__ import annotations

DEFAULT_LEVEL = 0.7
"""The HPA's target leaves room already: on recorded loads this more than halves the short minutes for 4 % more pods,
while 0.9 takes 11 % (`benchmarks/simulate.py`)."""

DEFAULT_READY_SECONDS = 120.0
"""What a new pod takes to serve, where that isn't measured."""

MARGIN_SECONDS = 120.0
"""Beside the pod's own time: a minute for the load to be scraped, forecast, and scraped again, and one for the HPA to
come by and to double its way up."""


DEFAULT_STEP_SECONDS = 60.0
"""Of a forecast, where nobody says another."""


def horizon_seconds(ready_seconds: float, step_seconds: float = DEFAULT_STEP_SECONDS) -> float:
    """`horizon: auto`: how far ahead to look so that what is started now is ready when it is needed.

    A forecast's value describes the step that ends at its time, and pods must be there as that begins.
    """
    return ready_seconds + MARGIN_SECONDS + step_seconds
