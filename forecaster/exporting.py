"""Forecasts as `cloudpulse_forecast_*` on `/metrics`: only what is fresh, never with a timestamp of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import Metric

from cloudpulse import names
from cloudpulse.clock import Clock
from cloudpulse.families import Family, label_block
from cloudpulse.names import Definition
from cloudpulse.promql import Labels
from forecaster.anomaly import anomaly_score
from forecaster.store import ForecastStore, Issue
from forecaster.thresholds import time_to_threshold

Column = tuple[Labels, NDArray[np.float64]]
"""Labels of our own, and one value a series."""


class ForecastCollector:
    """Collects what the store has. The text of label sets is kept as long as a target's series stay the same."""

    def __init__(self, store: ForecastStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._texts: dict[str, _Texts] = {}

    def collect(self) -> Iterable[Family | Metric]:
        """One family for each series of the contract; a NaN is left out."""
        issues, now = self._store.fresh(), self._clock()
        self._texts = {issue.target.name: self._texts_of(issue) for issue in issues}
        for definition, columns in _COLUMNS.items():
            blocks: list[str] = []
            parts: list[NDArray[np.float64]] = [np.empty(0)]
            for issue in issues:
                texts = self._texts[issue.target.name]
                for own, values in columns(issue, now):
                    blocks += texts.of(own)
                    parts.append(values)
            yield Family(definition.name, definition.help, blocks, np.concatenate(parts).tolist())
        yield self._names(issues)
        yield from _about_targets(issues)
        yield from _about_models(issues)

    def _names(self, issues: Sequence[Issue]) -> Family:
        blocks = [block for issue in issues for block in self._texts[issue.target.name].named]
        return Family(names.FORECAST_INFO.name, names.FORECAST_INFO.help, blocks, [1.0] * len(blocks))

    def _texts_of(self, issue: Issue) -> _Texts:
        name, labels = issue.target.name, issue.forecast.labels
        kept = self._texts.get(name)
        if kept is None or kept.labels != labels:
            return _Texts(name, labels, {})
        return kept


def columns(definition: Definition, issue: Issue, now: float) -> Iterator[Column]:
    """The series of an issue at Unix time `now`, as the page shows them then; NaN is no sample."""
    yield from _COLUMNS[definition](issue, now)


def as_matchers(labels: Labels) -> str:
    """Labels of a source, as they are named in PromQL: escaped as in a page."""
    return label_block(labels)[1:-1]


def facts(issue: Issue) -> Iterator[tuple[Definition, Labels, float]]:
    """What is shown once for a target, whatever its series."""
    yield names.FORECAST_SERIES, {}, float(len(issue.forecast.labels))
    for threshold in issue.target.crossings:
        yield names.FORECAST_THRESHOLD, {"threshold": threshold.label}, threshold.value


@dataclass
class _Texts:
    """Label sets of a target's series, rendered once for each set of labels of our own."""

    name: str
    labels: Sequence[Labels]
    rendered: dict[tuple[tuple[str, str], ...], list[str]]

    def of(self, own: Labels) -> list[str]:
        key = tuple(own.items())
        if key not in self.rendered:
            self.rendered[key] = [label_block({"forecast": self.name, **own, **labels}) for labels in self.labels]
        return self.rendered[key]

    @cached_property
    def named(self) -> list[str]:
        """Each series with its source's labels written as matchers."""
        return [
            label_block({"forecast": self.name, "matchers": as_matchers(labels), **labels}) for labels in self.labels
        ]


def _values(issue: Issue, now: float) -> Iterator[Column]:
    ahead = {"0s": issue.expected_now}
    ahead |= {str(horizon): issue.ahead(horizon, now) for horizon in issue.target.horizons}
    for horizon, values in ahead.items():
        for own, column in _by_level(issue, values):
            yield {"horizon": horizon, **own}, column


def _observed(issue: Issue, _: float) -> Iterator[Column]:
    yield {}, issue.observed


def _anomalies(issue: Issue, _: float) -> Iterator[Column]:
    yield {}, anomaly_score(issue)


def _crossings(issue: Issue, now: float) -> Iterator[Column]:
    for threshold in issue.target.crossings:
        for own, column in _by_level(issue, time_to_threshold(issue, threshold, now)):
            yield {"threshold": threshold.label, **own}, column


def _chances(issue: Issue, _: float) -> Iterator[Column]:
    for threshold, values in issue.chances.items():
        for own, column in _by_horizon(issue, values):
            yield {"threshold": threshold, **own}, column


def _mase(issue: Issue, _: float) -> Iterator[Column]:
    yield from _by_horizon(issue, issue.scores.mase)


def _bias(issue: Issue, _: float) -> Iterator[Column]:
    yield from _by_horizon(issue, issue.scores.bias)


def _coverage(issue: Issue, _: float) -> Iterator[Column]:
    for h, horizon in enumerate(issue.target.horizons):
        for own, column in _by_level(issue, issue.scores.coverage[:, h]):
            yield {"horizon": str(horizon), **own}, column


def _weights(issue: Issue, _: float) -> Iterator[Column]:
    for model, values in issue.weights.items():
        yield {"model": model}, values


def _timestamps(issue: Issue, _: float) -> Iterator[Column]:
    yield {}, np.full(len(issue.forecast.labels), issue.issued_at)


def _by_level(issue: Issue, values: NDArray[np.float64]) -> Iterator[Column]:
    """The configured levels only: the median is always predicted, but shown only when asked for."""
    for k, level in enumerate(issue.forecast.levels):
        if level in issue.target.levels:
            yield {"level": f"{level:g}"}, values[:, k]


def _by_horizon(issue: Issue, values: NDArray[np.float64]) -> Iterator[Column]:
    for h, horizon in enumerate(issue.target.horizons):
        yield {"horizon": str(horizon)}, values[:, h]


_COLUMNS: Mapping[Definition, Callable[[Issue, float], Iterator[Column]]] = {
    names.FORECAST_VALUE: _values,
    names.FORECAST_OBSERVED: _observed,
    names.FORECAST_ANOMALY_SCORE: _anomalies,
    names.FORECAST_TIME_TO_THRESHOLD: _crossings,
    names.FORECAST_THRESHOLD_PROBABILITY: _chances,
    names.FORECAST_MASE: _mase,
    names.FORECAST_COVERAGE: _coverage,
    names.FORECAST_BIAS: _bias,
    names.FORECAST_MODEL_WEIGHT: _weights,
    names.FORECAST_TIMESTAMP: _timestamps,
}

BY_SERIES = (*_COLUMNS, names.FORECAST_INFO)
"""What is shown of each series of a source. Of all but the info there are `columns`."""


def _about_targets(issues: Sequence[Issue]) -> Iterator[Metric]:
    families = {one: one.family() for one in (names.FORECAST_SERIES, names.FORECAST_THRESHOLD)}
    for issue in issues:
        for definition, own, value in facts(issue):
            families[definition].add_sample(definition.name, {"forecast": issue.target.name, **own}, value)
    yield from families.values()


def _about_models(issues: Sequence[Issue]) -> Iterator[Metric]:
    version, trained = names.FORECASTER_MODEL_VERSION.family(), names.FORECASTER_TRAINED.family()
    demoted = names.FORECASTER_DEMOTED_SERIES.family()
    for issue in issues:
        labels = {"forecast": issue.target.name}
        if issue.version:
            version.add_sample(names.FORECASTER_MODEL_VERSION.name, labels, issue.version)
            trained.add_sample(names.FORECASTER_TRAINED.name, labels, issue.trained_at)
        for model in issue.weights:
            out = issue.demoted.since.get(model)
            count = 0 if out is None else int((~np.isnan(out)).any(1).sum())
            demoted.add_sample(names.FORECASTER_DEMOTED_SERIES.name, {**labels, "model": model}, count)
    yield version
    yield trained
    yield demoted
