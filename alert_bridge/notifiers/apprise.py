"""Over a hundred other services, each by a URL: whatever of https://github.com/caronc/apprise goes over HTTP.

Services of apprise that open sockets themselves, start programs or write to the desktop are refused: only calls of
`requests` can be made as the bridge makes them (`stand_in`). E-mail has a receiver type of its own.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alert_bridge import stand_in
from alert_bridge.channels import Name
from alert_bridge.notifier import DeliveryFailed, Memory, Message, ReceiverSettings, Surroundings
from alert_bridge.wording import Wording, kind
from cloudpulse.config import ClientTls, Secret, exactly_one, secret_text
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError

CHANNELS: Final[dict[str, Name]] = {"text": "plain", "html": "html", "markdown": "markdown"}
NOTIFY_TYPES: Final = {"firing": "failure", "update": "failure", "resolved": "success", "ack": "info"}
URLS = 50
TEXT_CHARACTERS = 10_000
TITLE_CHARACTERS = 200

ALL_SECONDS = 300
"""For all URLs of a receiver together: well within the time that a claimed notification is waited for."""

_EVERYONE = re.compile(r"@(?=(?:all|channel|everyone|here)\b)", re.IGNORECASE)
_NOT_OVER_HTTP = frozenset({"apprise.plugins.nostr"})  # asks over HTTP where to go, and then goes there by itself


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
        urls = _urls(settings)
        self._services = [self._service(url, f"urls[{i}]") for i, url in enumerate(urls)]

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
            raise DeliveryFailed(
                "; ".join(map(str, failures[:3])) + others,
                retryable=any(failure.retryable for failure in failures),
                retry_after_seconds=_longest(failures),
                progress={"taken": " ".join(sorted(taken))},
            )
        return {}

    def _tell(self, service: _Service, message: Message) -> None:
        from apprise import AppriseAttachment
        from apprise.attachment.memory import AttachMemory

        picture = message.insight.picture
        attached = None
        # After a failure without it: some services take the text before they refuse the picture.
        if picture is not None and service.takes_pictures and message.notification.attempt == 1:
            made = AttachMemory(picture, "forecast.png", "image/png")  # type: ignore[no-untyped-call]  # apprise's
            attached = AppriseAttachment(made)
        settings, surroundings = self._settings, self._surroundings
        errand = stand_in.Errand(
            settings.timeout, settings.tls_config, surroundings.allow_link_local, surroundings.clock
        )
        with errand.begin():
            result = service.client.notify(
                body=_without_mentions(service.text.text(message)),
                title=_without_mentions(service.title.title(message)),
                notify_type=NOTIFY_TYPES.get(kind(message), "warning"),
                body_format=service.format,
                attach=attached,
            )
        if not result:
            raise _failure(service.name, errand.failures)

    def _service(self, url: str, place: str) -> _Service:
        from apprise import Apprise, AppriseAsset
        from apprise.exception import AppriseException

        silence()
        asset = AppriseAsset(
            app_id="CloudPulse",
            app_desc="CloudPulse alert bridge",
            app_url="",
            image_url_mask="",  # no picture of another host's in messages
            image_url_logo="",
            async_mode=False,  # in this thread, where the errand is
            service_timeout=0,
            http_redirects=False,
            storage_mode="memory",
            pgp_autogen=False,
            pem_autogen=False,
        )
        where = f"receiver {self._settings.name}: {place}"
        try:
            plugin = Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
        except (AppriseException, TypeError, ValueError):  # their texts hold parts of the URL
            plugin = None
        stand_in.stand_in("apprise")
        scheme = found[0] if (found := re.match(r"[a-z0-9]{1,30}(?=://)", url)) else "?"
        if plugin is None:
            raise ConfigError(f"{where}: apprise has no service that takes this URL (it begins with {scheme}://)")
        if not _over_http(plugin):
            raise ConfigError(f"{where}: {scheme}:// does not go over HTTP, which is all that the bridge can guard")
        plugin.retry, plugin.optional = 0, False  # trying again is the bridge's, and a failure is one
        plugin.redirects = False
        client = Apprise(asset=asset)
        client.add(plugin)
        return self._worded(client, plugin, url)

    def _worded(self, client: Any, plugin: Any, url: str) -> _Service:
        overrides, failed = self._settings.templates, self._surroundings.template_failed
        form = _format(plugin)
        channel = CHANNELS[form]
        # Then the title stands in the text, and is escaped as that is.
        within = plugin.title_maxlen <= 0 or plugin.overflow_amalgamate_title
        room = min(plugin.body_maxlen, TEXT_CHARACTERS)
        most = min(TITLE_CHARACTERS, room // 3 if within else plugin.title_maxlen)
        return _Service(
            client=client,
            name=str(plugin.service_name),
            mark=hashlib.sha256(url.encode()).hexdigest()[:16],
            format=form,
            takes_pictures=bool(plugin.attachment_support),
            title=Wording(channel if within else "plain", overrides, title_limit=most, failed=failed),
            text=Wording(channel, overrides, text_limit=room - most - 20 if within else room, failed=failed),
        )


@dataclass(frozen=True)
class _Service:
    """One URL: apprise's client for it alone, and how it is worded. `mark` stands for the URL in the database."""

    client: Any
    name: str
    mark: str
    format: str
    takes_pictures: bool
    title: Wording
    text: Wording


def silence() -> None:
    """Keep apprise's own log lines in it: they hold URLs, tokens and what services answered."""
    log = logging.getLogger("apprise")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())


def _urls(settings: AppriseReceiver) -> list[str]:
    if settings.urls is not None:
        return [url.reveal() for url in settings.urls]
    lines = [line.strip() for line in secret_text(None, settings.urls_file).splitlines()]
    urls = [line for line in lines if line and not line.startswith("#")]
    most = min(URLS, int(ALL_SECONDS // settings.timeout))
    if not 1 <= len(urls) <= most:
        raise ConfigError(f"receiver {settings.name}: {settings.urls_file}: expected 1 to {most} URLs, got {len(urls)}")
    return urls


def _format(plugin: Any) -> str:
    """What the service reads: what its URL says, else what it takes first."""
    # Who takes plain text and Markdown reads the former as the latter (Discord, DingTalk), and then it isn't escaped.
    both = {form.value for form in plugin._formats()} == {"text", "markdown"}
    form: str = plugin.resolve_format("markdown" if both else None).value
    return form


def _without_mentions(text: str) -> str:
    """Names that call a whole channel, on services that read them in any text, with something invisible inside."""
    return _EVERYONE.sub("@\u200b", text)


def _over_http(plugin: Any) -> bool:
    """Whether the plugin, or the one that it is made of, calls `requests`; and nothing else."""
    packages = {".".join(kind.__module__.split(".")[:3]) for kind in type(plugin).__mro__}
    own = {package for package in packages if package.startswith("apprise.plugins.")} - {"apprise.plugins.base"}
    return not own & _NOT_OVER_HTTP and any(map(stand_in.stands_in, own))


def _failure(name: str, failures: list[DeliveryFailed]) -> DeliveryFailed:
    if not failures:
        return DeliveryFailed(f"{name} did not take it", retryable=True)
    return DeliveryFailed(
        f"{name}: {failures[-1]}",
        retryable=any(failure.retryable for failure in failures),
        retry_after_seconds=_longest(failures),
    )


def _longest(failures: list[DeliveryFailed]) -> float | None:
    asked = [failure.retry_after_seconds for failure in failures if failure.retry_after_seconds is not None]
    return max(asked, default=None)
