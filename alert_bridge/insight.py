"""What is known about alerts beyond what Alertmanager says: the picture, the outlook, the company, the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from alert_bridge.webhook import AlertGroup


@dataclass(frozen=True)
class Outlook:
    """What the forecast says of one alert's series, in words; each a sentence, empty where nothing is known.

    `expected` is the range for now, `ahead` when it crosses or recovers (levels 0.5 and 0.9), `trust` how the
    forecast has done lately (MASE, coverage).
    """

    fingerprint: str
    expected: str = ""
    ahead: str = ""
    trust: str = ""


@dataclass(frozen=True)
class Companion:
    """Another forecast that is anomalous in the same minutes; `relation` 0-1, `score` its anomaly score."""

    forecast: str
    labels: Mapping[str, str]
    score: float
    relation: float


@dataclass(frozen=True)
class Insight:
    """What was found in time. `picture` is a PNG; `company` is the most related first.

    `values` are now's, by fingerprint, and `texts` the same as people read them, with their unit.
    """

    picture: bytes | None = None
    outlooks: tuple[Outlook, ...] = ()
    company: tuple[Companion, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


NOTHING = Insight()


class Insights(Protocol):
    """Finds out. Never raises and never takes longer than it promises; called by several threads."""

    def of(self, group: AlertGroup) -> Insight:
        """What is known of the group's alerts now; NOTHING when nothing could be found in time."""


class NoInsights:
    """Knows nothing: for a bridge that has no Prometheus to ask."""

    def of(self, group: AlertGroup) -> Insight:
        """NOTHING."""
        return NOTHING
