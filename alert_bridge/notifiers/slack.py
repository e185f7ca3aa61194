"""Slack: one message per incident, brought up to date as it changes; what happens meanwhile goes into its thread.

Sources: https://docs.slack.dev/reference/methods/chat.postMessage (and chat.update, files.getUploadURLExternal,
files.completeUploadExternal), https://docs.slack.dev/messaging/formatting-message-text for what is escaped, and
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.

Slack has no documented idempotency key. A message carries a `client_msg_id` made of ours, which Slack's own clients
use to send again and which its errors speak of; should Slack not hold it against a message whose answer was lost, a
second one appears in the channel, with the same `idempotency_key` in its metadata (`cloudpulse_alert`). The incident
then goes on in the second. An update of a message can be repeated without harm.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from alert_bridge.notifier import DeliveryFailed, Memory, Message, ReceiverSettings, Summary, Surroundings
from alert_bridge.notifiers.slack_errors import Refused, check
from alert_bridge.posting import HttpClient, check_timeout, checked_url, place, usable
from alert_bridge.wording import Wording, kind, severity
from cloudpulse import logs
from cloudpulse.config import Authorization, ClientTls, Secret, exactly_one, secret_text
from cloudpulse.durations import Duration

T = TypeVar("T")

MOST_ANSWER_BYTES = 1 << 20
MOST_CLOSED = 20
"""Messages brought up to date with one summary: chat.update may be called some fifty times a minute."""

MOST_TEXT = 3000
"""Characters of a section's text; a message's own may be longer."""

_COLORS = {"resolved": "#2eb67d", "ack": "#1d9bd1", "warning": "#ecb22e", "info": "#1d9bd1"}
_ALARM = "#e01e5a"
_UPLOAD_URL = re.compile(r"https?://(\[[0-9a-f:]+\]|[A-Za-z0-9.-]+)(:\d+)?/[\w.~/%+=&?:@,;-]*", re.ASCII)
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"})
_NO_DOUBLE = frozenset({"duplicate_message_not_found", "duplicate_channel_not_found"})

log = logs.get(__name__)


class SlackReceiver(ReceiverSettings, frozen=True, tag_field="type", tag="slack"):
    """`type: slack`: a bot `token` (scopes chat:write and files:write) and a `channel`, or only a `webhook_url`.

    With a webhook each notification is a message of its own, without a thread or a picture. `channel` is an id such
    as C0123456789 or a name; the app must be in it. `api_url` is another for GovSlack.
    """

    token: Secret | None = None
    token_file: Path | None = None
    channel: str = ""
    webhook_url: Secret | None = None
    webhook_url_file: Path | None = None
    api_url: str = "https://slack.com/api"
    tls_config: ClientTls = ClientTls()
    timeout: Duration = Duration(10)

    def __post_init__(self) -> None:
        super().__post_init__()
        exactly_one(
            token=self.token,
            token_file=self.token_file,
            webhook_url=self.webhook_url,
            webhook_url_file=self.webhook_url_file,
        )
        if self.by_bot != bool(self.channel):
            raise ValueError(
                "channel: expected with a token, such as C0123456789"
                if self.by_bot
                else "channel: a webhook has one of its own, leave it out"
            )
        if self.webhook_url is not None and not usable(self.webhook_url.reveal()):
            raise ValueError("webhook_url: expected a URL such as https://hooks.slack.com/services/...")
        if not usable(self.api_url):
            raise ValueError("api_url: expected a URL such as https://slack.com/api")
        check_timeout(self.timeout, most=60)  # it takes up to five calls

    @property
    def by_bot(self) -> bool:
        """Whether it is told through the Web API, not through a webhook."""
        return self.token is not None or self.token_file is not None


class _Posted(msgspec.Struct):
    """What chat.postMessage and chat.update answer."""

    channel: str
    ts: str


class _Upload(msgspec.Struct):
    """What files.getUploadURLExternal answers."""

    upload_url: str
    file_id: str


class SlackNotifier:
    """Tells one channel. It remembers the channel, its id and the `ts` of the incident's message."""

    def __init__(self, settings: SlackReceiver, surroundings: Surroundings) -> None:
        self._settings = settings
        self._allow_link_local = surroundings.allow_link_local
        self._clock = surroundings.clock
        self._wording = Wording(
            "slack", settings.templates, title_limit=300, text_limit=MOST_TEXT, failed=surroundings.template_failed
        )
        if settings.by_bot:
            token = Secret(secret_text(settings.token, settings.token_file))
            url, authorization = settings.api_url, Authorization(credentials=token)
        else:
            url = checked_url(settings.name, settings.webhook_url, settings.webhook_url_file)
            authorization = None
        self._client = HttpClient(
            url,
            timeout=settings.timeout,
            tls=settings.tls_config,
            authorization=authorization,
            allow_link_local=surroundings.allow_link_local,
            clock=surroundings.clock,
        )

    def send(self, message: Message) -> Memory:
        """Post or update the incident's message, then tell its thread; a picture that can't be uploaded is left out."""
        content = self._content(message)
        if not self._settings.by_bot:
            self._client.call("POST", json=content)
            return {}
        told = kind(message)
        memory = message.notification.memory
        told_there = memory.get("to") == self._settings.channel  # not once the config names another
        root = _Posted(memory["channel"], memory["ts"]) if told_there else None
        if message.notification.summary is not None:
            self._post(message, content)
            self._close(message, message.notification.summary)
            return {}
        if root is not None:
            root = self._follow_up(message, content, root)
        if root is None:
            root = self._post(message, content)
        if message.insight.picture is not None and told != "ack":
            self._upload(root, message.insight.picture)
        if message.notification.group.over:
            return {}
        return {"to": self._settings.channel, "channel": root.channel, "ts": root.ts}

    def _follow_up(self, message: Message, content: Mapping[str, object], root: _Posted) -> _Posted | None:
        """Bring the incident's message up to date and tell its thread; None when it has been deleted."""
        ack = message.notification.ack
        where = {"channel": root.channel, "ts": root.ts}
        try:
            if ack is None or ack.whole:  # else what nobody has taken would no longer be seen
                self._ask(_Posted, "chat.update", {**where, **content})
            self._post(message, content, thread=root)
        except Refused as refused:
            if refused.code not in _GONE:
                raise
            return None
        return root

    def _close(self, message: Message, summary: Summary) -> None:
        """Bring the messages of incidents that ended in a summary up to date, or they would look as if they fired.

        The summary has been posted, and must not be again: what fails here is logged.
        """
        known = [one for one in summary.ended if one.memory.get("to") == self._settings.channel]
        for one in known[:MOST_CLOSED]:
            notification = replace(message.notification, group=one.group, summary=None)
            where = {"channel": one.memory["channel"], "ts": one.memory["ts"]}
            try:
                self._ask(_Posted, "chat.update", {**where, **self._content(Message(notification))})
            except DeliveryFailed as error:
                log.warning("a message still looks as if it fired", receiver=self._settings.name, error=str(error))
                return

    def _post(self, message: Message, content: Mapping[str, object], thread: _Posted | None = None) -> _Posted:
        key = message.notification.idempotency_key
        body = {
            **content,
            "channel": thread.channel if thread else self._settings.channel,
            "metadata": {
                "event_type": "cloudpulse_alert",
                "event_payload": {"idempotency_key": key, "incident": message.notification.group.incident},
            },
        }
        if thread is not None:
            body["thread_ts"] = thread.ts
        once = {"client_msg_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key} {thread.ts if thread else ''}"))}
        try:
            return self._ask(_Posted, "chat.postMessage", body | once)
        except Refused as refused:
            if refused.code not in _NO_DOUBLE:
                raise
            return self._ask(_Posted, "chat.postMessage", body)  # it was posted, and someone has deleted it

    def _content(self, message: Message) -> dict[str, object]:
        title, text = self._wording.title(message), self._wording.text(message)
        told = kind(message)
        color = _COLORS.get(told if told in ("resolved", "ack") else severity(message), _ALARM)
        section = {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
        return {
            "text": title,
            "attachments": [{"color": color, "fallback": title, "blocks": [section]}],
            "parse": "none",
            "unfurl_links": False,
            "unfurl_media": False,
        }

    def _upload(self, root: _Posted, picture: bytes) -> None:
        """Put the picture into the thread, or log why not: the text has been delivered."""
        try:
            about = {"filename": "forecast.png", "length": str(len(picture)), "alt_txt": "History and forecast"}
            upload = self._ask(_Upload, "files.getUploadURLExternal", form=about)
            self._elsewhere(upload.upload_url).call("POST", files={"file": ("forecast.png", picture, "image/png")})
            files = [{"id": upload.file_id, "title": "History and forecast"}]
            thread = {"channel_id": root.channel, "thread_ts": root.ts}
            self._ask(msgspec.Raw, "files.completeUploadExternal", {"files": files, **thread})
        except DeliveryFailed as error:
            log.warning("picture not uploaded, the text was delivered", receiver=self._settings.name, error=str(error))

    def _elsewhere(self, url: str) -> HttpClient:
        """A client, without the token, for the place that Slack's answer names; DeliveryFailed if it isn't Slack's."""
        if not _is_slacks(url, self._settings.api_url):
            raise DeliveryFailed(f"{self._client.place} named an upload place that isn't its own", retryable=False)
        return HttpClient(
            url,
            timeout=self._settings.timeout,
            tls=self._settings.tls_config,
            allow_link_local=self._allow_link_local,
        )

    def _ask(self, kind: type[T], method: str, json: object = None, *, form: Mapping[str, str] | None = None) -> T:
        answer = self._client.call("POST", method, json=json, form=form, keep=MOST_ANSWER_BYTES)
        return check(kind, answer, self._client.place, method, self._clock)


def _is_slacks(url: str, api_url: str) -> bool:
    """Whether it is the API's own origin, or https on one of its host's or slack.com's names."""
    if not _UPLOAD_URL.fullmatch(url):  # nor anything that two parsers could read as two hosts
        return False
    if place(url) == place(api_url):
        return True
    parts, own = urlsplit(url), urlsplit(api_url).hostname or ""
    names = {"slack.com", own if re.search("[a-z]", own) else "slack.com"}
    host = parts.hostname or ""
    return parts.scheme == "https" and any(host == name or host.endswith(f".{name}") for name in names)
