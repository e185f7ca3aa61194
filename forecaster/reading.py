"""Reading once, for the one-off commands: which Prometheus, and the newest history of a query as a Frame."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from cloudpulse import config
from cloudpulse.config import PrometheusSettings
from cloudpulse.durations import format_duration
from cloudpulse.errors import AnswerUnusable, ConfigError
from cloudpulse.promql import MetricSource, Prometheus
from forecaster.frame import Frame, from_series


class NoSeries(AnswerUnusable):
    """The query works, but nothing answered to it in the time that was asked for."""


def source(url: str | None, config_path: Path | None) -> MetricSource:
    """The Prometheus of `--url`, else of the config; authentication and TLS are the config's in both cases."""
    settings = config.read(config_path).section("prometheus", PrometheusSettings)
    if url is None:
        return Prometheus(settings)
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f'--url: expected a URL that starts with http:// or https://, got "{url}"')
    return Prometheus(msgspec.structs.replace(settings, url=url))


def queried(source: MetricSource, query: str, step: float, seconds: float) -> Frame:
    """The newest `seconds` of `query` on grid points that are multiples of the step.

    Raises SourceError: NoSeries when nothing answers.
    """
    end = time.time() // step * step
    length = max(2, int(seconds // step))
    start = end - (length - 1) * step
    series = source.range(query, start, end, step)
    if not series:
        raise NoSeries(f"the query answers no series for the last {format_duration(seconds)}: {query}")
    return from_series(series, start, step, length)
