"""`alert_bridge.insight` in the config: what the bridge may ask Prometheus to tell more than the alert says."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec

from cloudpulse import zones
from cloudpulse.config import Section
from cloudpulse.durations import Duration


class InsightSettings(Section, frozen=True):
    """What is found out for messages.

    `enabled: false` asks Prometheus nothing. `expressions: false` keeps the company and leaves out all that evaluates
    the alert's own expression (picture, outlook, values): whoever may post alerts chooses that text, and so what
    Prometheus is asked, though never for longer than 2 s nor for more than a few thousand series.
    `past` and `ahead` are how much a picture shows. `timezone` is that of its times.
    `match` are labels that the alerts of this Prometheus have, such as its external_labels; where alerts of several
    arrive, only those with all of them are looked up in it.
    """

    enabled: bool = True
    expressions: bool = True
    past: Duration = Duration.parse("6h")
    ahead: Duration = Duration.parse("3h")
    timezone: str = "UTC"
    match: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("past", self.past), ("ahead", self.ahead)):
            if not 600 <= value <= 7 * 86400:
                raise ValueError(f"{name}: expected 10m to 7d, got {value}")
        zones.zone(self.timezone)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone itself."""
        return zones.zone(self.timezone)
