"""One rule's question to Prometheus, all of it in a single query, and the answer taken apart again.

An instant query stamps every sample with the time asked for, so that a value of five minutes ago looks new. The age
that counts is therefore asked for in the same query:

- forecast: when the forecast was made, `cloudpulse_forecast_timestamp_seconds`;
- a plain selector such as `queue_depth{env="prod"}`: when each sample was taken, `timestamp(…)`;
- any other expression: Prometheus can't tell; it is the time of evaluation, and Prometheus' look-back (5 minutes by
  default) comes on top. A rule that needs better names a forecast or a plain selector.

`or` compares labels without the metric's name, so that every part but what is measured carries a label that tells it
from the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cloudpulse import names
from cloudpulse.names import Definition
from cloudpulse.promql import Labels, Sample
from cloudpulse.yielding import with_rests
from scaler.config import Rule
from scaler.horizon import Choice

PART = "cloudpulse_part"
"""Label that says which part of the answer a series is."""

_PLAIN_SELECTOR = re.compile(r"""[a-zA-Z_:][a-zA-Z0-9_:]*\s*(\{([^{}"']|"([^"\\]|\\.)*"|'([^'\\]|\\.)*')*\})?""")


@dataclass(frozen=True)
class Parts:
    """The answer by part, without the metrics' names.

    What is measured and when that was sampled; a forecast, when it was made, and its figures.
    """

    measured: list[Sample] = field(default_factory=list)
    sampled: list[Sample] = field(default_factory=list)
    forecast: list[Sample] = field(default_factory=list)
    made: list[Sample] = field(default_factory=list)
    mase: list[Sample] = field(default_factory=list)
    coverage: list[Sample] = field(default_factory=list)


def text(rule: Rule, choice: Choice) -> str:
    """The PromQL of `rule`, "" where there is nothing to ask for; `choice` says which horizon and level to read."""
    parts = []
    if rule.forecast is not None and choice.horizon:
        forecast = {"forecast": rule.forecast}
        horizon = {**forecast, "horizon": choice.horizon}
        level = {**horizon, "level": choice.level}
        parts += [
            _marked(_selected(names.FORECAST_VALUE, level), "forecast"),
            _marked(_selected(names.FORECAST_TIMESTAMP, forecast), "made"),
            _marked(_selected(names.FORECAST_MASE, horizon), "mase"),
            _marked(_selected(names.FORECAST_COVERAGE, level), "coverage"),
        ]
    if rule.measured is not None:
        if is_plain(rule.measured):
            parts += [rule.measured, _marked(f"timestamp({rule.measured})", "sampled")]
        else:  # people's own PromQL may hold an `or on (…)`, which would bind our parts, and may end in a comment
            parts.append(f"({rule.measured}\n)" if parts else rule.measured)
    return "\nor ".join(parts)


def split(answer: Iterable[Sample]) -> Parts:
    """The answer to `text(…)` by its parts."""
    parts = Parts()
    lists = {part: getattr(parts, part) for part in ("measured", "sampled", "forecast", "made", "mase", "coverage")}
    for one in with_rests(answer):
        labels = dict(one.labels)
        labels.pop("__name__", None)
        lists[labels.pop(PART, "measured")].append(Sample(labels, one.value))
    return parts


def is_plain(query: str) -> bool:
    """Whether `query` is a metric with or without a selector, whose samples have times of their own."""
    return _PLAIN_SELECTOR.fullmatch(query) is not None


def _selected(metric: Definition, labels: Labels) -> str:
    return f"{metric.name}{{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def _marked(query: str, part: str) -> str:
    return f'label_replace({query}, "{PART}", "{part}", "", "")'
