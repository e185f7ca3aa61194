"""What `cloudpulse check` says about the routes: which can't be reached, and where an alert would go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from alert_bridge import matchers
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.intervals import Calendar
from alert_bridge.matchers import Matcher
from alert_bridge.router import Route, Router
from cloudpulse.errors import ConfigError
from cloudpulse.findings import Examined, Finding
from cloudpulse.promql import MetricSource


def examine(settings: AlertBridgeSettings, source: MetricSource) -> Iterator[Examined]:  # noqa: ARG001  a Probe's
    """A Probe, which needs no answer from Prometheus."""
    yield Examined("alert_bridge.routes", tuple(_findings(settings)))


def destinations(settings: AlertBridgeSettings, text: str, at: float) -> Iterator[str]:
    """Where an alert with labels such as `alertname=X,severity=critical` goes at a time, a line for each route.

    Raises ConfigError for a text that holds something else than labels.
    """
    labels = _labels(text)
    router = Router(settings.routes, settings.fallback_names, Calendar(settings.time_intervals))
    until = router.muted(labels, at)
    ways = router.ways(labels)
    for place, receivers in [(way.place, way.receivers) for way in ways] or [("fallback", settings.fallback_names)]:
        told = ", ".join(f"{name} (mute, {_later(until[name])})" if until[name] else name for name in receivers)
        yield f"alert_bridge.{place}: {told}"


def _findings(settings: AlertBridgeSettings) -> Iterator[Finding]:
    unreachable = list(_unreachable("routes", settings.routes))
    yield from unreachable
    if not unreachable:
        yield Finding("ok", "order", f"{len(settings.routes)} routes, each of which can be reached")
    if all(conditions for conditions in map(_conditions, settings.routes)):
        yield Finding("note", "rest", f"what no route takes goes to {', '.join(settings.fallback_names)}")
    used = {name for route in settings.routes for name in _receivers(route)} | set(settings.fallback_names)
    used |= {receiver.fallback for receiver in settings.receivers if receiver.fallback}
    for receiver in settings.receivers:
        if receiver.name not in used:
            yield Finding("warn", receiver.name, "no route leads to this receiver: it is never told anything")


def _unreachable(place: str, routes: Sequence[Route]) -> Iterator[Finding]:
    for later, route in enumerate(routes):
        for earlier, other in enumerate(routes[:later]):
            if not other.continue_ and _conditions(other) <= _conditions(route):
                text = f"never asked: {place}[{earlier}] takes all of its alerts; move it up, or continue there"
                yield Finding("warn", f"{place}[{later}]", text)
                break
        yield from _unreachable(f"{place}[{later}].routes", route.routes)


def _conditions(route: Route) -> frozenset[Matcher]:
    return frozenset([*route.matchers, *(Matcher(name, "=", value) for name, value in route.match.items())])


def _receivers(route: Route) -> Iterator[str]:
    yield from route.receivers
    for child in route.routes:
        yield from _receivers(child)


def _labels(text: str) -> Mapping[str, str]:
    try:
        found = matchers.parse(text)
    except ValueError as error:
        raise ConfigError(f"--route: {error}") from None
    if wrong := next((matcher for matcher in found if matcher.operator != "="), None):
        raise ConfigError(f"--route: expected labels such as alertname=X,severity=critical, got {wrong}")
    return {matcher.name: matcher.value for matcher in found}


def _later(until: float) -> str:
    return f"looked at again {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"
