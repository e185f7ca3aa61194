"""Over a hundred other services, each by a URL, through apprise. E-mail has a receiver type of its own."""

from __future__ import annotations

from pathlib import Path

from alert_bridge.notifier import DeliveryFailed, Memory, Message, ReceiverSettings, Surroundings
from alert_bridge.notifiers.apprise_services import Service, load
from alert_bridge.stand_in import Errand
from cloudpulse.config import ClientTls, Secret, exactly_one, secret_text
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError

URLS = 50

ALL_SECONDS = 300
"""For all URLs of a receiver together: well within the time that a claimed notification is waited for."""


class AppriseReceiver(ReceiverSettings, frozen=True, tag_field="type", tag="apprise"):
    """`type: apprise`. Each of `urls` is a service as apprise's own documentation writes it, and a secret.

    `urls_file` has one in each line; empty lines and those that begin with # don't count. Give each target a URL of
    its own: of one URL's targets apprise doesn't say which took it. `timeout` is for one URL.
    """

    urls: tuple[Secret, ...] | None = None
    urls_file: Path | None = None
    tls_config: ClientTls = ClientTls()
    timeout: Duration = Duration(30)

    def __post_init__(self) -> None:
        super().__post_init__()
        exactly_one(urls=self.urls, urls_file=self.urls_file)
        if self.urls is not None and not 1 <= len(self.urls) <= URLS:
            raise ValueError(f"urls: expected 1 to {URLS}, got {len(self.urls)}")
        if not 0 < self.timeout <= ALL_SECONDS / len(self.urls or "1"):
            raise ValueError(f"timeout: expected more than 0s, at most 5m for all URLs together, got {self.timeout}")


class AppriseNotifier:
    """Sends to one URL after the other. Those that took it aren't sent it again when others are tried again."""

    def __init__(self, settings: AppriseReceiver, surroundings: Surroundings) -> None:
        self._settings = settings
        self._surroundings = surroundings
        self._services = [
            load(url, f"receiver {settings.name}: urls[{i}]", settings.templates, surroundings.template_failed)
            for i, url in enumerate(_urls(settings))
        ]

    def send(self, message: Message) -> Memory:
        """Return once every service has taken it."""
        taken = set(message.notification.progress.get("taken", "").split())
        failures = []
        for service in self._services:
            if service.mark in taken:
                continue
            try:
                self._tell(service, message)
            except DeliveryFailed as failure:
                failures.append(failure)
            else:
                taken.add(service.mark)
        if failures:
            others = f"; {len(taken)} of {len(self._services)} services have it" if len(self._services) > 1 else ""
            raise _joined("; ".join(map(str, failures[:3])) + others, failures, {"taken": " ".join(sorted(taken))})
        return {}

    def _tell(self, service: Service, message: Message) -> None:
        picture = message.insight.picture if service.takes_pictures else None
        if picture is None or message.notification.attempt > 1:
            # Some services take the text before they fail at the picture: that must not go on for a day.
            self._try(service, message, None)
            return
        try:
            self._try(service, message, picture)
        except DeliveryFailed as failure:
            if failure.retryable:
                raise
            self._try(service, message, None)

    def _try(self, service: Service, message: Message, picture: bytes | None) -> None:
        settings, here = self._settings, self._surroundings
        errand = Errand(settings.timeout, settings.tls_config, here.allow_link_local, here.clock)
        with errand.begin():
            taken = service.tell(message, picture)
        if not taken and errand.failures:
            raise _joined(f"{service.name}: {errand.failures[-1]}", errand.failures)
        if not taken:
            raise DeliveryFailed(f"{service.name} did not take it", retryable=True)


def _urls(settings: AppriseReceiver) -> list[str]:
    if settings.urls is not None:
        return [url.reveal() for url in settings.urls]
    lines = [line.strip() for line in secret_text(None, settings.urls_file).splitlines()]
    urls = [line for line in lines if line and not line.startswith("#")]
    most = min(URLS, int(ALL_SECONDS // settings.timeout))
    if not 1 <= len(urls) <= most:
        raise ConfigError(f"receiver {settings.name}: {settings.urls_file}: expected 1 to {most} URLs, got {len(urls)}")
    return urls


def _joined(text: str, failures: list[DeliveryFailed], progress: Memory | None = None) -> DeliveryFailed:
    """One failure for several: tried again while one of them may be, and not before the last of them wants it."""
    asked = [failure.retry_after_seconds for failure in failures if failure.retry_after_seconds is not None]
    return DeliveryFailed(
        text,
        retryable=any(failure.retryable for failure in failures),
        retry_after_seconds=max(asked, default=None),
        progress=progress,
    )
