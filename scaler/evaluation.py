"""One rule's question to Prometheus, and the answer as items that can be served.

An instant query stamps every sample with the time asked for, so that a value of five minutes ago looks new. The age
that counts is therefore asked for in the same query:

- forecast: when the forecast was made, `cloudpulse_forecast_timestamp_seconds`;
- a plain selector such as `queue_depth{env="prod"}`: when each sample was taken, `timestamp(…)`;
- any other expression: Prometheus can't tell; it is the time of evaluation, and Prometheus' look-back (5 minutes by
  default) comes on top. A rule that needs better names a forecast or a plain selector.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloudpulse import names
from cloudpulse.promql import Labels, Series
from scaler.config import DEFAULT_LEVEL, Rule
from scaler.quantity import quantity

SAMPLED = "cloudpulse_sampled"
"""Label that marks the second half of the answer: the times of the samples."""

_PLAIN_SELECTOR = re.compile(r"""[a-zA-Z_:][a-zA-Z0-9_:]*\s*(\{([^{}"']|"([^"\\]|\\.)*"|'([^'\\]|\\.)*')*\})?""")


@dataclass(frozen=True)
class Item:
    """One series as it would be answered: `time` is the sample's own, Unix seconds, NaN when it isn't known.

    `problem` says why there is no quantity, in words that follow "the value of …".
    """

    labels: Labels
    value: float
    time: float
    quantity: str
    problem: str = ""


def query_of(rule: Rule) -> str:
    """The one PromQL query of a rule: its values, and beside them the times that their age is judged by."""
    if rule.forecast is not None:
        level = DEFAULT_LEVEL if rule.level is None else rule.level
        value = f'{names.FORECAST_VALUE.name}{{forecast="{rule.forecast}",horizon="{rule.horizon}",level="{level:g}"}}'
        return f'{value} or {names.FORECAST_TIMESTAMP.name}{{forecast="{rule.forecast}"}}'
    query = (rule.query or "").strip()
    if _is_plain(rule):
        return f'{query} or label_replace(timestamp({query}), "{SAMPLED}", "1", "", "")'
    return query


def items_of(rule: Rule, answer: Iterable[Series], asked_at: float) -> tuple[Item, ...]:
    """The answer to `query_of(rule)` as items; `asked_at` is the Unix time of the evaluation."""
    times: list[Series] = []
    values: list[Series] = []
    for series in answer:
        (times if _tells_time(rule, series) else values).append(series)
    if rule.forecast is None and not _is_plain(rule):
        return tuple(_item(rule, series, asked_at) for series in values)
    made = _Times(times)
    return tuple(_item(rule, series, made.of(series.labels)) for series in values)


def _is_plain(rule: Rule) -> bool:
    return _PLAIN_SELECTOR.fullmatch((rule.query or "").strip()) is not None


def _tells_time(rule: Rule, series: Series) -> bool:
    if rule.forecast is not None:
        return series.labels.get("__name__") == names.FORECAST_TIMESTAMP.name
    return SAMPLED in series.labels


def _item(rule: Rule, series: Series, time: float) -> Item:
    labels = {name: value for name, value in series.labels.items() if name != "__name__"}
    value = float(series.values[-1])
    try:
        quantity(value)  # a value that can't be meant is judged before a bound could hide it
    except ValueError as error:
        return Item(labels, value, time, "", str(error))
    value = rule.clamp.apply(value)
    if rule.api == "external" and value < 0:
        # The HPA adds external values up, and takes a negative sum for infinite: it would scale to the maximum.
        return Item(labels, value, time, "", f"{value:g} is negative, and the HPA adds external values up")
    return Item(labels, value, time, quantity(value))


class _Times:
    """Finds the time that belongs to a value: that of the series whose labels the value carries, too.

    A forecast's own labels may hide those of its scrape (`honor_labels`), so that none fits; then it is the oldest.
    """

    def __init__(self, series: Iterable[Series]) -> None:
        self._by_names: dict[tuple[str, ...], dict[tuple[str, ...], float]] = {}
        self._oldest = float("nan")
        for one in series:
            time = float(one.values[-1])
            labels = {name: value for name, value in one.labels.items() if name not in ("__name__", SAMPLED)}
            key = tuple(sorted(labels))
            found = self._by_names.setdefault(key, {})
            place = tuple(labels[name] for name in key)
            found[place] = min(time, found.get(place, time))
            self._oldest = min(time, self._oldest) if self._oldest == self._oldest else time

    def of(self, labels: Mapping[str, str]) -> float:
        """Unix seconds; NaN when no time is known at all."""
        for key, found in self._by_names.items():
            time = found.get(tuple(labels.get(name, "") for name in key))
            if time is not None:
                return time
        return self._oldest
