"""E-mail with the picture in it, over SMTP: one mail per notification, one thread per incident."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from alert_bridge.letter import Letter, address, as_sent, needs_unicode
from alert_bridge.mailing import MailServer, Refusal, Security
from alert_bridge.notifier import DeliveryFailed, Memory, Message, ReceiverSettings, Surroundings
from alert_bridge.posting import check_timeout
from alert_bridge.wording import Wording, kind
from cloudpulse.config import ClientTls, Secret, exactly_one, secret_text
from cloudpulse.durations import Duration

TEXT_CHARACTERS = 20_000
RECIPIENTS = 100
"""As many as every server takes in one mail (RFC 5321, 4.5.3.1.8)."""

COLOURS: Final = {"resolved": "#2e7d32", "ack": "#1565c0"}
ALARM: Final = "#c62828"


class EmailReceiver(ReceiverSettings, frozen=True, kw_only=True, tag_field="type", tag="email"):
    """`type: email`. All of `to` get the same mail and see each other; `from` may have a name: `Alerts <a@b.org>`.

    `security` is starttls (port 587), tls (465) or none (25); only with one of the first two is a password sent.
    `timeout` is for the whole of a mail.
    """

    host: str
    to: tuple[str, ...]
    from_: str = msgspec.field(name="from")
    port: int | None = None
    security: Security = "starttls"
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None
    tls_config: ClientTls = ClientTls()
    timeout: Duration = Duration(30)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.host or not self.host.isprintable():
            raise ValueError("host: expected a name or an address such as smtp.example.org")
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError(f"port: expected 1 to 65535, got {self.port}")
        _checked("from", self.from_)
        if not 1 <= len(self.to) <= RECIPIENTS:
            raise ValueError(f"to: expected 1 to {RECIPIENTS} addresses, got {len(self.to)}")
        told = [_checked(f"to[{i}]", one) for i, one in enumerate(self.to)]
        if twice := next((one for one in told if told.count(one) > 1), None):
            raise ValueError(f'to: the address "{twice}" is given twice')
        if self.username is not None:
            exactly_one(password=self.password, password_file=self.password_file)
            if self.security == "none":
                raise ValueError("security: expected starttls or tls, since none would send the password in the clear")
        elif self.password is not None or self.password_file is not None:
            raise ValueError("username: missing, though there is a password")
        check_timeout(self.timeout)


class EmailNotifier:
    """Remembers the Message-ID of the incident's first mail, to which all others answer.

    Every recipient gets a mail once. Those that the server takes have it even when it refuses others; these are tried
    again alone, and are a dead letter once there is no hope, so that nobody is left out in silence.
    """

    def __init__(self, settings: EmailReceiver, surroundings: Surroundings) -> None:
        self._sender = address(settings.from_)
        self._recipients = tuple(map(address, settings.to))
        failed = surroundings.template_failed
        self._plain = Wording("plain", settings.templates, text_limit=TEXT_CHARACTERS, failed=failed)
        self._html = Wording("html", settings.templates, text_limit=2 * TEXT_CHARACTERS, failed=failed)
        password = secret_text(settings.password, settings.password_file) if settings.username is not None else ""
        self._server = MailServer(
            settings.host,
            settings.port,
            security=settings.security,
            tls=settings.tls_config,
            login=(settings.username, password) if settings.username is not None else None,
            timeout=settings.timeout,
            allow_link_local=surroundings.allow_link_local,
        )

    def send(self, message: Message) -> Memory:
        """Return once the server has taken it for every recipient."""
        notification = message.notification
        letter = self._letter(message)
        thread = letter.thread or letter.message_id(self._sender)
        memory = {} if notification.group.over or notification.summary is not None else {"thread": thread}
        written = letter.written(self._sender, self._recipients).as_bytes()

        taken = set(notification.progress.get("taken", "").splitlines())
        spec_of = {as_sent(one).addr_spec: needs_unicode(one) for one in self._recipients}
        left = [spec for spec in spec_of if spec not in taken]
        unicode = needs_unicode(self._sender) or any(spec_of.values())
        refused = self._server.submit(as_sent(self._sender).addr_spec, left, written, unicode=unicode)
        if refused:
            taken |= set(left) - set(refused)
            raise self._failed(refused, taken, memory)
        return memory

    def _letter(self, message: Message) -> Letter:
        notification = message.notification
        return Letter(
            key=notification.idempotency_key,
            sent_at=notification.stored_at,
            title=self._plain.title(message),
            text=self._plain.text(message),
            body=self._html.text(message),
            colour=COLOURS.get(kind(message), ALARM),
            picture=message.insight.picture,
            thread=notification.memory.get("thread", ""),
        )

    def _failed(self, refused: dict[str, Refusal], taken: set[str], memory: Memory) -> DeliveryFailed:
        told = ", ".join(f"{spec} ({refusal})" for spec, refusal in list(refused.items())[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        return DeliveryFailed(
            f"{self._server.place} refused {told}{more}; {len(taken)} of {len(self._recipients)} have it",
            retryable=not all(refusal.no_mailbox for refusal in refused.values()),
            progress={"taken": "\n".join(sorted(taken))},
            memory=memory if taken else None,
        )


def _checked(key: str, text: str) -> str:
    try:
        return as_sent(address(text)).addr_spec
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
