"""Silences at Alertmanager, through its API v2 (alertmanager/api/v2/openapi.yaml)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from alert_bridge.notifier import DeliveryFailed
from alert_bridge.posting import HttpClient
from cloudpulse import logs
from cloudpulse.config import Authorization, BasicAuth, ClientTls, Secret, Section
from cloudpulse.durations import Duration
from cloudpulse.errors import CloudPulseError

DOUBT_SECONDS = 60
"""For so long a request that wasn't answered may still take effect."""
MOST_DOUBTS = 100
LONGEST_LIST = 1 << 24
"""Bytes of all silences, those that have ended in the last days among them."""

SETTLED = timedelta(minutes=5)
"""An Alertmanager that has run for so long has heard of all that fires: Prometheus sends each alert every minute."""

log = logs.get(__name__)


class AlertmanagerSettings(Section, frozen=True):
    """Where silences are made: `url`, or `urls` of the members of a cluster, of which the first that answers is taken.

    The rest are Prometheus' http_config words. `ack_for` is how long an ack holds unless told, `ack_at_most` the
    longest that may be asked for.
    """

    url: str | None = None
    urls: tuple[str, ...] = ()
    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: ClientTls = ClientTls()
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    timeout: Duration = Duration(5)
    ack_for: Duration = Duration(7200)
    ack_at_most: Duration = Duration(86400)

    def __post_init__(self) -> None:
        if (self.url is None) == (not self.urls):
            raise ValueError("expected exactly one of url and urls, such as url: http://localhost:9093")
        for url in self.places:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("url: expected a URL such as http://localhost:9093")
            if parts.username is not None:
                raise ValueError("url: expected no user and password in it: put them under basic_auth")
        if self.basic_auth and self.authorization:
            raise ValueError("basic_auth and authorization can't both be set: keep one")
        if not 0 < self.timeout <= 30:
            raise ValueError(f"timeout: expected more than 0s, at most 30s, got {self.timeout}")
        if not 60 <= self.ack_for <= self.ack_at_most:
            raise ValueError(f"ack_for: expected at least 1m and at most ack_at_most, got {self.ack_for}")

    @property
    def places(self) -> tuple[str, ...]:
        """All URLs, in order."""
        return (self.url,) if self.url is not None else self.urls


class AlertmanagerUnavailable(CloudPulseError):
    """No Alertmanager did what was asked; the message says why, of each, and what to do."""


class _Made(msgspec.Struct):
    silence_id: str = msgspec.field(name="silenceID")


class _Status(msgspec.Struct):
    state: str


class _Silence(msgspec.Struct, rename="camel"):
    id: str
    status: _Status
    starts_at: str
    ends_at: datetime
    matchers: list[dict[str, Any]]


@dataclass(frozen=True)
class _Doubt:
    """A silence that a member may have made, since it didn't answer; `kept` is the one that was made in the end."""

    client: HttpClient
    matchers: list[dict[str, Any]]
    end: datetime
    since: float
    kept: str = ""


class _Running(msgspec.Struct):
    """Of api/v2/status."""

    uptime: datetime  # since when, in spite of its name


class _Known(msgspec.Struct):
    """Of api/v2/alerts, which has none that ended."""

    fingerprint: str


class Alertmanager:
    """One Alertmanager or a cluster, whose members tell one another of silences. For several threads.

    A member that doesn't answer may have made a silence all the same: `tidy` ends those, once it answers again.
    """

    def __init__(self, settings: AlertmanagerSettings, allow_link_local: bool) -> None:
        self._clients = [
            HttpClient(
                url,
                timeout=settings.timeout,
                tls=settings.tls_config,
                basic_auth=settings.basic_auth,
                authorization=settings.authorization,
                headers=settings.headers,
                allow_link_local=allow_link_local,
            )
            for url in settings.places
        ]
        self._doubts: deque[_Doubt] = deque(maxlen=MOST_DOUBTS)

    def silence(
        self, labels: Mapping[str, str], start: float, end: float, *, by: str, comment: str, known: str | None = None
    ) -> str:
        """Silence the alert with exactly these labels, in Unix seconds; `known` is a silence of it to be prolonged.

        Returns the silence's id, which may be another than `known`. Raises AlertmanagerUnavailable.
        """
        until = datetime.fromtimestamp(round(end, 3), UTC)  # Alertmanager tells milliseconds
        matchers: list[dict[str, Any]] = [
            {"name": n, "value": v, "isRegex": False, "isEqual": True} for n, v in sorted(labels.items())
        ]
        body = {
            "matchers": matchers,
            "startsAt": _moment(start),
            "endsAt": until.isoformat(),
            "createdBy": by,
            "comment": comment,
        }
        failures, doubts = [], []
        for client in self._clients:
            try:
                prolonged = _prolonged(client, known) if known is not None else {}
                made = client.ask(_Made, "POST", "api/v2/silences", json=body | prolonged).silence_id
            except DeliveryFailed as error:
                failures.append(str(error))
                if error.status is None:
                    doubts.append(_Doubt(client, matchers, until, time.monotonic()))
            else:
                self._doubts.extend(replace(doubt, kept=made) for doubt in doubts)
                return made
        self._doubts.extend(doubts)
        raise AlertmanagerUnavailable(f"the silence was not made: {'; '.join(failures)}")

    def fires(self, fingerprint: str, labels: Mapping[str, str]) -> bool:
        """Whether the alert fires, silenced or not. Raises AlertmanagerUnavailable, also just after it was started.

        Then it doesn't know yet what fires, until Prometheus has told it again.
        """
        query = [("filter", f"{name}={msgspec.json.encode(value).decode()}") for name, value in sorted(labels.items())]
        failures = []
        for client in self._clients:
            try:
                since = client.ask(_Running, "GET", "api/v2/status").uptime
                if datetime.now(UTC) - since < SETTLED:
                    failures.append(f"{client.place} was started just now")
                    continue
                known = client.ask(list[_Known], "GET", "api/v2/alerts", query=query)
                return any(one.fingerprint == fingerprint for one in known)
            except DeliveryFailed as error:
                failures.append(str(error))
        raise AlertmanagerUnavailable(f"what fires is not known: {'; '.join(failures)}")

    def expire(self, silence: str) -> None:
        """End the silence; one that has ended or that no member knows is fine. Raises AlertmanagerUnavailable."""
        self._ask(silence, "ended", end=True)

    def holds(self, silence: str) -> bool:
        """Whether it still does, as the first member that knows it says. Raises AlertmanagerUnavailable."""
        return self._ask(silence, "looked at", end=False)

    def tidy(self) -> None:
        """End what members made without an answer; one that still doesn't answer is asked the next time."""
        for doubt in list(self._doubts):
            try:
                for found in doubt.client.ask(list[_Silence], "GET", "api/v2/silences", keep=LONGEST_LIST):
                    if _same(found, doubt):
                        doubt.client.call("DELETE", f"api/v2/silence/{found.id}")
                        log.info("a silence that Alertmanager made without an answer is ended", silence=found.id)
            except DeliveryFailed as error:
                log.debug("silences not looked at", error=str(error))
                continue
            if time.monotonic() - doubt.since > DOUBT_SECONDS:
                self._doubts.remove(doubt)

    def _ask(self, silence: str, done: str, *, end: bool) -> bool:
        """Whether it was there and held."""
        failures = []
        for client in self._clients:
            try:
                holds = client.ask(_Silence, "GET", f"api/v2/silence/{silence}").status.state != "expired"
                if holds and end:
                    client.call("DELETE", f"api/v2/silence/{silence}")
            except DeliveryFailed as error:
                if error.status != 404:
                    failures.append(str(error))
            else:
                return holds
        if failures:
            raise AlertmanagerUnavailable(f"the silence was not {done}: {'; '.join(failures)}")
        return False


def _same(found: _Silence, doubt: _Doubt) -> bool:
    """Whether it can only be the one that was asked for: its end is one of ours to the millisecond."""
    by_name = sorted(found.matchers, key=lambda matcher: str(matcher.get("name")))
    return (
        found.status.state != "expired"
        and found.id != doubt.kept
        and found.ends_at == doubt.end
        and by_name == doubt.matchers
    )


def _prolonged(client: HttpClient, known: str) -> dict[str, str]:
    """What makes the same silence longer: its id, and its start to the second, or Alertmanager makes another one.

    Nothing where this member doesn't have it, or it has ended: then another one is what is wanted.
    """
    try:
        found = client.ask(_Silence, "GET", f"api/v2/silence/{known}")
    except DeliveryFailed as error:
        if error.status != 404:
            raise
        return {}
    return {"id": known, "startsAt": found.starts_at} if found.status.state == "active" else {}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
