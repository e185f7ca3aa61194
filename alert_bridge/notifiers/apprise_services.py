"""Services of https://github.com/caronc/apprise as the bridge takes them: over HTTP, by its own calls, in silence.

Those that open sockets themselves, start programs or write to the desktop are refused: only calls of `requests` can
be made as the bridge makes them (`stand_in`).
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from alert_bridge import stand_in
from alert_bridge.channels import Name
from alert_bridge.notifier import Message
from alert_bridge.templating import Templates
from alert_bridge.wording import Wording, kind
from cloudpulse.errors import ConfigError

CHANNELS: Final[dict[str, Name]] = {"text": "plain", "html": "html", "markdown": "markdown"}
NOTIFY_TYPES: Final = {"firing": "failure", "update": "failure", "resolved": "success", "ack": "info"}
TEXT_CHARACTERS = 10_000
TITLE_CHARACTERS = 200
TAGS_CHARACTERS = 20
"""For what apprise writes around a title within a text."""

_EVERYONE = re.compile(r"@(?=(?:all|channel|everyone|here)\b)", re.IGNORECASE)
_NOT_OVER_HTTP = frozenset({"apprise.plugins.nostr"})  # asks over HTTP where to go, and then goes there by itself
_BASE = "apprise.plugins.base"


@dataclass(frozen=True)
class Service:
    """One URL's: apprise's client for it alone, and how it is worded. `mark` stands for the URL in the database."""

    name: str
    mark: str
    takes_pictures: bool
    _client: Any
    _form: str
    _title: Wording
    _text: Wording

    def tell(self, message: Message, picture: bytes | None) -> bool:
        """Whether it has taken it. Call it on an errand: what went wrong is noted there."""
        from apprise import AppriseAttachment
        from apprise.attachment.memory import AttachMemory

        attached = None
        if picture is not None:
            made = AttachMemory(picture, "forecast.png", "image/png")  # type: ignore[no-untyped-call]  # apprise's
            attached = AppriseAttachment(made)
        result = self._client.notify(
            body=_without_mentions(self._text.text(message)),
            title=_without_mentions(self._title.title(message)),
            notify_type=NOTIFY_TYPES.get(kind(message), "warning"),
            body_format=self._form,
            attach=attached,
        )
        return bool(result)


def load(url: str, where: str, templates: Templates, failed: Callable[[str], None]) -> Service:
    """The service of a URL, which is not shown; raises ConfigError that begins with `where`."""
    from apprise import Apprise, AppriseAsset

    _silence()
    asset = AppriseAsset(
        app_id="CloudPulse",
        app_desc="CloudPulse alert bridge",
        app_url="",
        image_url_mask="",  # no pictures from other people's hosts
        image_url_logo="",
        async_mode=False,  # in this thread, where the errand is
        service_timeout=0,
        storage_mode="memory",
        pgp_autogen=False,
        pem_autogen=False,
    )
    try:
        plugin = Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
    except Exception:  # noqa: BLE001  whatever a plugin makes of a URL that it can't use; the text holds parts of it
        plugin = None
    stand_in.stand_in("apprise")
    scheme = found[0] if (found := re.match(r"[a-z0-9]{1,30}(?=://)", url)) else "?"
    if plugin is None:
        raise ConfigError(f"{where}: apprise has no service that takes this URL (it begins with {scheme}://)")
    if not _over_http(plugin):
        raise ConfigError(f"{where}: {scheme}:// does not go over HTTP, which is all that the bridge can guard")
    plugin.retry, plugin.optional = 0, False  # trying again is the bridge's, and a failure is one
    # Seconds to sleep between two calls, though the next alert is waiting: Retry-After and rate_limit do better.
    plugin.request_rate_per_sec = 0
    client = Apprise(asset=asset)
    client.add(plugin)
    return _worded(client, plugin, url, templates, failed)


def _worded(client: Any, plugin: Any, url: str, templates: Templates, failed: Callable[[str], None]) -> Service:
    form = _form(plugin)
    channel = CHANNELS[form]
    # Then the title stands in the text, and is escaped as that is.
    within = plugin.title_maxlen <= 0 or plugin.overflow_amalgamate_title
    room = min(plugin.body_maxlen, TEXT_CHARACTERS)
    most = min(TITLE_CHARACTERS, room // 3 if within else plugin.title_maxlen)
    left = room - most - TAGS_CHARACTERS if within else room
    return Service(
        name=str(plugin.service_name),
        mark=hashlib.sha256(url.encode()).hexdigest()[:16],
        takes_pictures=bool(plugin.attachment_support),
        _client=client,
        _form=form,
        _title=Wording(channel if within else "plain", templates, title_limit=most, failed=failed),
        _text=Wording(channel, templates, text_limit=left, failed=failed),
    )


def _form(plugin: Any) -> str:
    """How the service reads texts: as its URL says, else what it takes first."""
    # Who takes plain text and Markdown reads the former as the latter (Discord, DingTalk), and then it isn't escaped.
    both = {form.value for form in plugin._formats()} == {"text", "markdown"}
    form: str = plugin.resolve_format("markdown" if both else None).value
    return form


def _over_http(plugin: Any) -> bool:
    """Whether the plugin, or the one that it is made of, calls `requests` and nothing else."""
    packages = {".".join(base.__module__.split(".")[:3]) for base in type(plugin).__mro__} - {_BASE}
    own = {package for package in packages if package.startswith("apprise.plugins.")}
    return not own & _NOT_OVER_HTTP and any(map(stand_in.stands_in, own))


def _silence() -> None:
    """Keep apprise's own log lines in it: they hold URLs, tokens and what services answered."""
    log = logging.getLogger("apprise")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())


def _without_mentions(text: str) -> str:
    """Names that call a whole channel, on services that read them in any text, with something invisible inside."""
    return _EVERYONE.sub("@\u200b", text)
