"""The one way out over SMTP: one connection for each mail, encrypted and authenticated as the config says.

Sources: RFC 5321 (SMTP), 3207 (STARTTLS), 4954 (AUTH), 6531 (SMTPUTF8), 3463 (enhanced status codes).
"""

from __future__ import annotations

import base64
import contextlib
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from alert_bridge.connecting import Call
from alert_bridge.notifier import DeliveryFailed
from cloudpulse.config import ClientTls
from cloudpulse.errors import ConfigError

Security = Literal["starttls", "tls", "none"]

PORTS: Mapping[Security, int] = {"starttls": 587, "tls": 465, "none": 25}

_ENHANCED = re.compile(rb"^([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")
_NO_SUCH_MAILBOX = frozenset({550, 551, 553})


@dataclass(frozen=True)
class Refusal:
    """The server's answer for one recipient or the mail: the code, the enhanced one where it gave one, as `550 5.1.1`.

    What it wrote beside them is not kept.
    """

    code: int
    enhanced: str = ""

    @classmethod
    def of(cls, code: int, text: bytes) -> Refusal:
        """From an answer as smtplib gives it."""
        found = _ENHANCED.match(text)
        return cls(code, found[1].decode() if found else "")

    @property
    def no_mailbox(self) -> bool:
        """Whether the mailbox is what is wrong. Policies (x.7.x) and quotas (552) may be put right meanwhile."""
        return self.code in _NO_SUCH_MAILBOX and not self.enhanced.startswith("5.7.")

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced}".rstrip()


class MailServer:
    """Submits mails to one server. `timeout` seconds are for the whole of a submission. For several threads.

    Raises ConfigError for certificates that can't be used.
    """

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        security: Security = "starttls",
        tls: ClientTls = ClientTls(),  # noqa: B008  frozen
        login: tuple[str, str] | None = None,
        timeout: float = 30,
        allow_link_local: bool = False,
    ) -> None:
        self._host = host
        self._port = port or PORTS[security]
        self._security = security
        self._context = _context(tls)
        self._login = login
        self._timeout = timeout
        self._allow_link_local = allow_link_local
        self.place = f"smtp://[{host}]:{self._port}" if ":" in host else f"smtp://{host}:{self._port}"

    def submit(self, sender: str, recipients: Sequence[str], mail: bytes, *, unicode: bool) -> dict[str, Refusal]:
        """Give it the mail for all recipients at once; returns those refused, while all others have it.

        `unicode` says that an address needs SMTPUTF8. Raises DeliveryFailed when nobody has it for another reason than
        being refused one by one.
        """
        call = Call(self.place, self._allow_link_local, time.monotonic() + self._timeout)
        try:
            with call.watched():
                client = _Client(call, self._timeout, self._context, implicit=self._security == "tls")
                try:
                    self._greet(client)
                    return self._transact(client, sender, recipients, mail, unicode)
                finally:
                    client.leave()
        except smtplib.SMTPResponseException as error:
            raise self._failed(Refusal.of(error.smtp_code, _bytes(error.smtp_error))) from None
        except smtplib.SMTPNotSupportedError:
            raise DeliveryFailed(f"{self.place} takes no addresses in unicode (SMTPUTF8)", retryable=True) from None
        except (smtplib.SMTPException, OSError, ValueError) as error:  # their texts may hold what the server wrote
            late = call.late or isinstance(error, TimeoutError)
            reason = "timed out" if late else f"not reached: {type(error).__name__}"
            raise DeliveryFailed(f"{self.place} {reason}", retryable=True) from None

    def _greet(self, client: _Client) -> None:
        _expect(220, client.connect(self._host, self._port))
        client.ehlo_or_helo_if_needed()
        if self._security == "starttls":
            if not client.has_extn("starttls"):
                text = f"{self.place} offers no STARTTLS: nothing is sent in the clear unless security is none"
                raise DeliveryFailed(text, retryable=True)
            client.upgrade()
            client.ehlo_or_helo_if_needed()
        if self._login is not None:
            self._authenticate(client, *self._login)

    def _authenticate(self, client: _Client, username: str, password: str) -> None:
        """By PLAIN (RFC 4616), else LOGIN: smtplib's own takes no password beyond ASCII."""
        offered = client.esmtp_features.get("auth", "").upper().split()
        if "PLAIN" in offered:
            answer = client.docmd("AUTH", f"PLAIN {_base64(f'{chr(0)}{username}{chr(0)}{password}')}")
        elif "LOGIN" in offered:
            _expect(334, client.docmd("AUTH", "LOGIN"))
            _expect(334, client.docmd(_base64(username)))
            answer = client.docmd(_base64(password))
        else:
            raise DeliveryFailed(f"{self.place} offers no way to log in (AUTH PLAIN or LOGIN)", retryable=True)
        _expect(235, answer)

    def _transact(
        self, client: _Client, sender: str, recipients: Sequence[str], mail: bytes, unicode: bool
    ) -> dict[str, Refusal]:
        options = [f"size={len(mail)}"] if client.has_extn("size") else []
        code, text = client.mail(sender, [*options, "SMTPUTF8"] if unicode else options)
        if code != 250:
            # Anything but the mail's size is about the sender and who may send: for the config or the server to mend.
            raise self._failed(Refusal.of(code, text), retryable=code != 552)
        refused = {}
        for recipient in recipients:
            code, text = client.rcpt(recipient)
            if code == 421:  # it closes the connection
                raise self._failed(Refusal.of(code, text))
            if code not in (250, 251):
                refused[recipient] = Refusal.of(code, text)
        if len(refused) < len(recipients):
            code, text = client.data(mail)
            if code != 250:
                raise self._failed(Refusal.of(code, text), retryable=code < 500)
        return refused

    def _failed(self, refusal: Refusal, *, retryable: bool = True) -> DeliveryFailed:
        return DeliveryFailed(f"{self.place} answered {refusal}", retryable=retryable)


class _Client(smtplib.SMTP):
    """smtplib's client over the sockets of a `Call`, which are looked at before they connect and cut when late."""

    def __init__(self, call: Call, timeout: float, context: ssl.SSLContext, *, implicit: bool) -> None:
        name = socket.gethostname()  # smtplib would ask DNS for it, however long that takes
        super().__init__(local_hostname=name if "." in name else "[127.0.0.1]", timeout=timeout)
        self._call = call
        self._context = context
        self._implicit = implicit
        self._server = ""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # what smtplib.SMTP_SSL overrides
        self._server = host
        connected = self._call.connect(host, port, timeout)
        connected.settimeout(timeout)
        self._call.follow(connected)
        return self._encrypted(connected) if self._implicit else connected

    def upgrade(self) -> None:
        """STARTTLS; smtplib's own makes the handshake where the `Call` can't cut it off."""
        _expect(220, self.docmd("STARTTLS"))
        assert self.sock is not None
        self.sock = self._encrypted(self.sock)
        # What the server said before may be anyone's (RFC 3207, 4.2).
        self.file, self.helo_resp, self.ehlo_resp = None, None, None
        self.esmtp_features, self.does_esmtp = {}, False

    def _encrypted(self, connected: socket.socket) -> ssl.SSLSocket:
        made = self._context.wrap_socket(connected, server_hostname=self._server, do_handshake_on_connect=False)
        self._call.follow(made)
        made.do_handshake()
        return made

    def getreply(self) -> tuple[int, bytes]:
        """Not what was read when the `Call` was cut off, which may be the first digits of something else."""
        answer = super().getreply()
        if self._call.late:
            raise TimeoutError
        return answer

    def leave(self) -> None:
        """Whatever happens here, the mail is taken or it isn't."""
        with contextlib.suppress(smtplib.SMTPException, OSError):
            if self.sock is not None:
                self.sock.settimeout(1)
                self.quit()
        self.close()


def _expect(code: int, answer: tuple[int, bytes]) -> None:
    if answer[0] != code:
        raise smtplib.SMTPResponseException(*answer)


def _context(tls: ClientTls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file and tls.key_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:
        files = ", ".join(str(file) for file in (tls.ca_file, tls.cert_file, tls.key_file) if file)
        raise ConfigError(f"tls_config: no usable certificates in {files}: {type(error).__name__}") from error
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
