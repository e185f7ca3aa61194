"""Which receivers an alert goes to, and when: by its labels, route by route, as Alertmanager's own tree does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from alert_bridge.intervals import Calendar
from alert_bridge.matchers import Matchers
from alert_bridge.webhook import AlertGroup
from cloudpulse.config import Section


class Route(Section, frozen=True):
    """Alerts whose labels equal all of `match` and fulfil all of `matchers` go to `receivers`.

    A missing label counts as empty. Those that one of `routes` takes go to that one's receivers instead, which are
    this one's where it names none. Outside of its `active_time_intervals` or within its `mute_time_intervals` a route
    still takes its alerts, and is mute: they are kept, and those that still fire when it ends are told then. Who was
    told that an alert fires hears at once that it ended, also from a mute route. Intervals aren't inherited.
    Source: https://prometheus.io/docs/alerting/latest/configuration/#route, which forgets the end of what was told.
    """

    receivers: tuple[str, ...] = ()
    match: dict[str, str] = msgspec.field(default_factory=dict)
    matchers: Matchers = Matchers()
    active_time_intervals: tuple[str, ...] = ()
    mute_time_intervals: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    continue_: bool = msgspec.field(default=False, name="continue")

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels is this route's."""
        return self.matchers.match(labels) and all(labels.get(name, "") == value for name, value in self.match.items())


@dataclass(frozen=True)
class Muted:
    """Alerts at these positions of a group wait until the time (Unix seconds) at which to look again."""

    positions: Sequence[int]
    until: float


@dataclass(frozen=True)
class Plan:
    """What a group means for each receiver: positions of the alerts to tell now, and of those that are muted."""

    now: Mapping[str, Sequence[int]]
    muted: Mapping[str, Muted]


@dataclass(frozen=True)
class Way:
    """A route that takes an alert: its place in the config and whom it tells."""

    place: str
    route: Route
    receivers: tuple[str, ...]


class Router:
    """Routes in order; the first that matches is the last asked, unless it says `continue: true`. Used by any thread.

    Every alert of a group is routed by itself, so that who was told that it fires is also told that it ended,
    whatever other alerts were in the group at either time. An alert that no route takes goes to all of `fallback`.
    Every alert goes to all of `always` besides.
    """

    def __init__(
        self, routes: Sequence[Route], fallback: Sequence[str], calendar: Calendar, always: Sequence[str] = ()
    ) -> None:
        self._routes = routes
        self._fallback = tuple(fallback)
        self._calendar = calendar
        self._always = tuple(always)

    def ways(self, labels: Mapping[str, str]) -> list[Way]:
        """The routes that an alert with these labels takes, in order; empty when it goes to the fallback."""
        return list(_ways(self._routes, labels, "routes", ()))

    def receivers(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Names of the receivers of an alert with these labels at any time, each once, at least one."""
        found = {name: None for way in self.ways(labels) for name in way.receivers}
        return (tuple(found) or self._fallback) + self._always

    def muted(self, labels: Mapping[str, str], at: float) -> dict[str, float]:
        """Receiver -> until when it isn't told of an alert with these labels at the time `at`; 0 for told now.

        One of two ways to the same receiver is enough to tell it.
        """
        found: dict[str, float] = {}
        for way in self.ways(labels):
            route = way.route
            until = self._calendar.quiet_until(route.active_time_intervals, route.mute_time_intervals, at)
            for name in way.receivers:
                found[name] = min(until, found.get(name, until))
        return (found or dict.fromkeys(self._fallback, 0.0)) | dict.fromkeys(self._always, 0.0)

    def plan(self, group: AlertGroup, at: float) -> Plan:
        """Each alert that fires, or isn't muted, with its receivers. Who hears of other ends, the outbox knows."""
        now: dict[str, list[int]] = {}
        muted: dict[str, list[int]] = {}
        until: dict[str, float] = {}
        for position, alert in enumerate(group.alerts):
            for receiver, later in self.muted(alert.labels, at).items():
                if not later:
                    now.setdefault(receiver, []).append(position)
                elif alert.firing:
                    muted.setdefault(receiver, []).append(position)
                    until[receiver] = min(later, until.get(receiver, later))
        return Plan(now, {name: Muted(positions, until[name]) for name, positions in muted.items()})


def _ways(routes: Sequence[Route], labels: Mapping[str, str], place: str, inherited: tuple[str, ...]) -> Iterator[Way]:
    for index, route in enumerate(routes):
        if not route.takes(labels):
            continue
        here, receivers = f"{place}[{index}]", route.receivers or inherited
        deeper = list(_ways(route.routes, labels, f"{here}.routes", receivers))
        yield from deeper or [Way(here, route, receivers)]
        if not route.continue_:
            return
