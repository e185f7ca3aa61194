"""The `alert_bridge` section of the config."""

from __future__ import annotations

from pathlib import Path

from alert_bridge.alertmanager import AlertmanagerSettings
from alert_bridge.notifiers import Receiver
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.posting import usable
from alert_bridge.router import Route
from cloudpulse.apikeys import ApiKey
from cloudpulse.config import BasicAuth, Secret, Section
from cloudpulse.durations import Duration


class AlertBridgeSettings(Section, frozen=True):
    """Everything the bridge can be told.

    `fallback` receives what no route matches; without it, all receivers do: rather too loud than silent.
    `repeat_after` tells Alertmanager's repeats from its doubles: a post that tells exactly the same as one stored
    less than that ago (the other half of an HA pair, a retry after a lost answer) is accepted and not delivered
    again; a later one is a reminder and is. Keep it above group_interval and below repeat_interval.
    `bearer_token`, `basic_auth` and `client_certificates` (common or alternative names of the subject; the web config
    file asks for and verifies them) are what Alertmanager shows for itself: any one of those set opens the webhook.
    `api_keys` are those of people and programs. Without keys, reading is open to everyone, and changes to whoever may
    post alerts. `max_alerts` bounds the alerts of one post.
    `alertmanager` is where acks become silences, `external_url` where people reach the bridge: with it, messages have
    links to take what they tell of, good for `links_expire_after`.
    `bearer_token`, where given, is asked of every POST.
    `allow_link_local` lets receivers and other services have link-local, cloud metadata and multicast addresses.
    """

    data_dir: Path = Path("./data/alert-bridge")
    receivers: tuple[Receiver, ...] = (LogReceiver(name="log"),)
    routes: tuple[Route, ...] = ()
    fallback: tuple[str, ...] | None = None
    repeat_after: Duration = Duration(600)
    retry_first: Duration = Duration(1)
    retry_max: Duration = Duration(300)
    give_up_after: Duration = Duration(86400)
    max_body_bytes: int = 16 * 1024 * 1024
    max_alerts: int = 20_000
    bearer_token: Secret | None = None
    bearer_token_file: Path | None = None
    basic_auth: BasicAuth | None = None
    client_certificates: tuple[str, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()
    allow_link_local: bool = False
    alertmanager: AlertmanagerSettings | None = None
    external_url: str | None = None
    links_expire_after: Duration = Duration(3 * 86400)

    def __post_init__(self) -> None:
        names = [receiver.name for receiver in self.receivers]
        if not names:
            raise ValueError("receivers: expected at least one, or leave the key out for a log receiver")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f'receivers: the name "{twice}" is given twice')
        for place, used in self._uses():
            if unknown := next((name for name in used if name not in names), None):
                raise ValueError(f'{place}: no receiver is named "{unknown}", expected one of {", ".join(names)}')
        if self.fallback == ():
            raise ValueError("fallback: expected at least one name, or leave the key out for all receivers")
        if not 0 < self.retry_first <= self.retry_max:
            raise ValueError(f"retry_first: expected more than 0s and at most retry_max, got {self.retry_first}")
        if self.give_up_after <= 0:
            raise ValueError(f"give_up_after: expected more than 0s, got {self.give_up_after}")
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
    def fallback_names(self) -> tuple[str, ...]:
        """The receivers of what no route matches."""
        return self.fallback or tuple(receiver.name for receiver in self.receivers)

    def _uses(self) -> list[tuple[str, tuple[str, ...]]]:
        routes = [(f"routes[{i}].receivers", route.receivers) for i, route in enumerate(self.routes)]
        return [*routes, ("fallback", self.fallback or ())]


def _for_people(url: str) -> bool:
    return usable(url) and not set("?#@").intersection(url)
