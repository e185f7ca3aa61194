"""What the forecaster says about its own work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry

from cloudpulse import names

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
READ_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)


class Meters:
    """Counters and histograms by target, registered in `registry`. For several threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._train = names.FORECASTER_TRAIN_DURATION.histogram(registry, SECONDS)
        self._predict = names.FORECASTER_PREDICT_DURATION.histogram(registry, SECONDS)
        self._query = names.FORECASTER_QUERY_DURATION.histogram(registry, SECONDS)
        self._read = names.FORECASTER_READ_DURATION.histogram(registry, READ_SECONDS)
        self._errors = names.FORECASTER_ERRORS.counter(registry)
        self._skipped = names.FORECASTER_SERIES_SKIPPED.gauge(registry)
        self._backlog = names.FORECASTER_TRAINING_BACKLOG.gauge(registry)
        self._shed = names.FORECASTER_TRAINING_SHED.counter(registry)
        self._rounds_skipped = names.FORECASTER_ROUNDS_SKIPPED.counter(registry)
        self._streams = names.FORECASTER_STREAMS.gauge(registry)

    def streams(self, count: Callable[[], float]) -> None:
        """Show how many clients listen, asked at every scrape."""
        self._streams.set_function(count)

    def query_duration(self, name: str) -> AbstractContextManager[object]:
        """Times a `with` block that asks Prometheus."""
        return self._query.labels(name).time()

    def predict_duration(self, name: str) -> AbstractContextManager[object]:
        """Times a `with` block that predicts."""
        return self._predict.labels(name).time()

    def trained(self, name: str, seconds: float) -> None:
        """The training of a part ended after `seconds`, waiting included."""
        self._train.labels(name).observe(seconds)

    def read(self, code: int, seconds: float) -> None:
        """A remote read was answered with this HTTP status."""
        self._read.labels(str(code)).observe(seconds)

    def error(self, name: str, reason: str) -> None:
        """Something failed for `reason`."""
        self._errors.labels(name, reason).inc()

    def skipped(self, name: str, counts: Mapping[str, int]) -> None:
        """How many series the last round left out, by reason; 0 is a count, too."""
        for why, count in counts.items():
            self._skipped.labels(name, why).set(count)

    def backlog(self, name: str, series: int) -> None:
        """How many series wait to be trained."""
        self._backlog.labels(name).set(series)

    def training_shed(self, name: str) -> None:
        """Training that was due is held back: the round before took too long."""
        self._shed.labels(name).inc()

    def rounds_skipped(self, name: str, count: int) -> None:
        """So many rounds were left out (0 is a count, too)."""
        self._rounds_skipped.labels(name).inc(count)
