"""The `alert_bridge` section of the config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from alert_bridge.alertmanager import AlertmanagerSettings
from alert_bridge.grafana.settings import GrafanaSettings
from alert_bridge.insights.config import InsightSettings
from alert_bridge.intervals import NamedIntervals
from alert_bridge.notifier import ReceiverSettings
from alert_bridge.notifiers import Receiver
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.posting import usable
from alert_bridge.router import Route
from cloudpulse.apikeys import ApiKey
from cloudpulse.config import BasicAuth, Secret, Section
from cloudpulse.durations import Duration

ORIGIN = re.compile(r"https?://[^/\s?#@]+", re.IGNORECASE)


class StreamSettings(Section, frozen=True):
    """`/api/v1/stream`: how many clients at the same time, and of which other origins pages may read it.

    A page of this server itself always may; `origins` are like `https://wallboard.example`.
    """

    most: int = 256
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.most <= 10_000:
            raise ValueError(f"most: expected 0 to 10000, got {self.most}")
        for origin in self.origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f'origins: expected one such as https://wallboard.example, got "{origin}"')


class AlertBridgeSettings(Section, frozen=True):
    """Everything the bridge can be told.

    `fallback` receives what no route matches; without it, all receivers do: rather too loud than silent. (What one
    receiver could not be told goes to its own `fallback`.)
    `repeat_after` tells Alertmanager's repeats from its doubles: a post that tells exactly the same as one stored
    less than that ago (the other half of an HA pair, a retry after a lost answer) is accepted and not delivered
    again; a later one is a reminder and is. Keep it above group_interval and below repeat_interval.
    `bearer_token`, `basic_auth` and `client_certificates` (common or alternative names of the subject; the web config
    file asks for and verifies them) are what Alertmanager shows for itself: any one of those set opens the webhook.
    `api_keys` are those of people and programs. Without keys, reading is open to everyone, and changes to whoever may
    post alerts. `max_alerts` bounds the alerts of one post.
    `time_intervals` are what routes name in `active_time_intervals` and `mute_time_intervals`.
    `alertmanager` is where acks become silences, `external_url` where people reach the bridge: with it, messages have
    links to take what they tell of, good for `links_expire_after`.
    `database` (or `database_file`) is the URL of a PostgreSQL database that several replicas may share, such as
    postgresql://user:password@host:5432/name; it counts as a secret. Without it, everything is in an SQLite file in
    `data_dir`. A replica that was silent for `replica_timeout` is given up, and the others send what it was sending.
    Delivered and given-up things are deleted after `retention`, the oldest delivered ones earlier where there are more
    alerts than `max_stored_alerts` (about 1 kB each on disk, more with long texts). What still waits, and the last word
    on what still fires, never is: when that alone is more, new alerts are refused, but for those that end something.
    `allow_link_local` lets receivers and other services have link-local, cloud metadata and multicast addresses.
    """

    data_dir: Path = Path("./data/alert-bridge")
    receivers: tuple[Receiver, ...] = (LogReceiver(name="log"),)
    routes: tuple[Route, ...] = ()
    fallback: tuple[str, ...] | None = None
    time_intervals: tuple[NamedIntervals, ...] = ()
    repeat_after: Duration = Duration(600)
    retry_first: Duration = Duration(1)
    retry_max: Duration = Duration(300)
    give_up_after: Duration = Duration(86400)
    max_body_bytes: int = 16 * 1024 * 1024
    database: Secret | None = None
    database_file: Path | None = None
    replica_timeout: Duration = Duration(30)
    retention: Duration = Duration(30 * 86400)
    max_stored_alerts: int = 1_000_000
    max_alerts: int = 20_000
    bearer_token: Secret | None = None
    bearer_token_file: Path | None = None
    basic_auth: BasicAuth | None = None
    client_certificates: tuple[str, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()
    allow_link_local: bool = False
    stream: StreamSettings = StreamSettings()
    grafana: GrafanaSettings | None = None
    alertmanager: AlertmanagerSettings | None = None
    external_url: str | None = None
    links_expire_after: Duration = Duration(3 * 86400)
    insight: InsightSettings = InsightSettings()

    def __post_init__(self) -> None:
        names = [receiver.name for receiver in self.receivers]
        if not names:
            raise ValueError("receivers: expected at least one, or leave the key out for a log receiver")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f'receivers: the name "{twice}" is given twice')
        if self.grafana is not None and self.grafana.name in names:
            raise ValueError(f'receivers: the name "{self.grafana.name}" is that of `grafana`: rename one')
        intervals = [interval.name for interval in self.time_intervals]
        if twice := next((name for name in intervals if intervals.count(name) > 1), None):
            raise ValueError(f'time_intervals: the name "{twice}" is given twice')
        _check_names("fallback", self.fallback or (), "receiver", names)
        _check_fallbacks(self.receivers)
        _check_routes("routes", self.routes, False, names, intervals)
        if self.fallback == ():
            raise ValueError("fallback: expected at least one name, or leave the key out for all receivers")
        if not 0 < self.retry_first <= self.retry_max:
            raise ValueError(f"retry_first: expected more than 0s and at most retry_max, got {self.retry_first}")
        if self.give_up_after <= 0:
            raise ValueError(f"give_up_after: expected more than 0s, got {self.give_up_after}")
        if self.database is not None and self.database_file is not None:
            raise ValueError("database and database_file can't both be set: keep one")
        if self.database is not None and not self.database.reveal().startswith(("postgresql://", "postgres://")):
            raise ValueError("database: expected a URL such as postgresql://user:password@host:5432/name")
        if self.replica_timeout < 1:
            raise ValueError(f"replica_timeout: expected 1s or more, got {self.replica_timeout}")
        if self.retention < self.repeat_after:
            raise ValueError(f"retention: expected at least repeat_after, got {self.retention}")
        if self.max_stored_alerts < 1:
            raise ValueError(f"max_stored_alerts: expected 1 or more, got {self.max_stored_alerts}")
        if self.max_body_bytes < 1024:
            raise ValueError(f"max_body_bytes: expected 1024 or more, got {self.max_body_bytes}")
        if self.max_alerts < 1:
            raise ValueError(f"max_alerts: expected 1 or more, got {self.max_alerts}")
        if self.external_url is not None and not _for_people(self.external_url):
            raise ValueError("external_url: expected a URL such as https://alerts.example.com, without user, ? and #")
        if self.links_expire_after <= 0:
            raise ValueError(f"links_expire_after: expected more than 0s, got {self.links_expire_after}")
        keys = [key.name for key in self.api_keys]
        if twice := next((name for name in keys if keys.count(name) > 1), None):
            raise ValueError(f'api_keys: the name "{twice}" is given twice')
        if "" in self.client_certificates:
            raise ValueError("client_certificates: expected names such as alertmanager.monitoring, got an empty text")
        if self.bearer_token is not None and self.bearer_token_file is not None:
            raise ValueError("bearer_token and bearer_token_file can't both be set: keep one")

    @property
    def all_receivers(self) -> tuple[ReceiverSettings, ...]:
        """Those that routes may name, and Grafana."""
        return self.receivers if self.grafana is None else (*self.receivers, self.grafana)

    @property
    def fallback_names(self) -> tuple[str, ...]:
        """The receivers of what no route matches."""
        return self.fallback or tuple(receiver.name for receiver in self.receivers)


def _check_fallbacks(receivers: Sequence[ReceiverSettings]) -> None:
    next_of = {receiver.name: receiver.fallback for receiver in receivers}
    for index, receiver in enumerate(receivers):
        _check_names(
            f"receivers[{index}].fallback", [receiver.fallback] if receiver.fallback else [], "receiver", [*next_of]
        )
        chain = [receiver.name]
        while (following := next_of[chain[-1]]) is not None:
            chain.append(following)
            if chain.count(following) > 1:
                raise ValueError(f"receivers[{index}].fallback: it leads back to itself: {' -> '.join(chain)}")
            if following not in next_of:
                break


def _check_routes(
    place: str, routes: Sequence[Route], inherits: bool, receivers: Sequence[str], intervals: Sequence[str]
) -> None:
    for index, route in enumerate(routes):
        here = f"{place}[{index}]"
        if not route.receivers and not inherits:
            raise ValueError(f"{here}.receivers: expected at least one name")
        _check_names(f"{here}.receivers", route.receivers, "receiver", receivers)
        _check_names(f"{here}.active_time_intervals", route.active_time_intervals, "time interval", intervals)
        _check_names(f"{here}.mute_time_intervals", route.mute_time_intervals, "time interval", intervals)
        _check_routes(f"{here}.routes", route.routes, True, receivers, intervals)


def _check_names(place: str, used: Iterable[str], what: str, known: Sequence[str]) -> None:
    if unknown := next((name for name in used if name not in known), None):
        expected = f", expected one of {', '.join(known)}" if known else ""
        raise ValueError(f'{place}: no {what} is named "{unknown}"{expected}')


def _for_people(url: str) -> bool:
    return usable(url) and not set("?#@").intersection(url)
