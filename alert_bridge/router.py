"""Which receivers an alert goes to: by its labels, route by route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from alert_bridge.webhook import AlertGroup
from cloudpulse.config import Section


class Route(Section, frozen=True):
    """Alerts whose labels equal all of `match` go to `receivers`; a missing label counts as empty."""

    receivers: tuple[str, ...]
    match: dict[str, str] = msgspec.field(default_factory=dict)
    continue_: bool = msgspec.field(default=False, name="continue")

    def __post_init__(self) -> None:
        if not self.receivers:
            raise ValueError("receivers: expected at least one name")


class Router:
    """Routes in order; the first that matches is the last asked, unless it says `continue: true`.

    Every alert of a group is routed by itself, so that who was told that it fires is also told that it ended,
    whatever other alerts were in the group at either time. An alert that no route takes goes to all of `fallback`.
    Every alert goes to all of `always` besides.
    """

    def __init__(self, routes: Sequence[Route], fallback: Sequence[str], always: Sequence[str] = ()) -> None:
        self._routes = routes
        self._fallback = tuple(fallback)
        self._always = tuple(always)

    def receivers(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Names of the receivers of an alert with these labels, each once, at least one."""
        found: dict[str, None] = {}
        for route in self._routes:
            if all(labels.get(name, "") == value for name, value in route.match.items()):
                found.update(dict.fromkeys(route.receivers))
                if not route.continue_:
                    break
        return (tuple(found) or self._fallback) + self._always

    def deliveries(self, group: AlertGroup) -> dict[str, list[int]]:
        """Receiver -> positions of its alerts in the group."""
        found: dict[str, list[int]] = {}
        for position, alert in enumerate(group.alerts):
            for receiver in self.receivers(alert.labels):
                found.setdefault(receiver, []).append(position)
        return found
