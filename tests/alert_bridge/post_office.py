"""A real SMTP server for the tests of e-mails."""

from __future__ import annotations

import email.policy
import functools
import logging
import socket
import ssl
from email import message_from_bytes
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


@functools.cache
def authority() -> trustme.CA:
    """Who signs the certificates of post offices."""
    return trustme.CA()


class PostOffice:
    """Keeps what it takes on 127.0.0.1, and answers as `answers` says for MAIL, DATA or a recipient.

    `security` is starttls, tls or none; `login` is who alone may send. A context.
    """

    def __init__(self, security: str = "none", login: tuple[bytes, bytes] | None = None, **options: Any) -> None:
        self.answers: dict[str, str] = {}
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.connections: list[tuple[bool, object]] = []
        """Of each mail: whether it came encrypted, and who had logged in."""
        self._login = login
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority().issue_cert("127.0.0.1").configure_cert(certificate)
        options |= {"authenticator": self._authenticate, "auth_required": True} if login else {}
        options |= {"tls_context": certificate, "require_starttls": True} if security == "starttls" else {}
        # aiosmtpd doesn't count TLS around it as encrypted.
        options |= {"ssl_context": certificate, "auth_require_tls": False} if security == "tls" else {}
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)

    def __enter__(self) -> Self:
        logging.getLogger("mail").setLevel(logging.WARNING)  # it would log both sides in the process under test
        self._controller.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._controller.stop()

    def _authenticate(
        self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == self._login, handled=False, auth_data=data.login)

    async def handle_MAIL(self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        if "DATA" in self.answers:
            return self.answers["DATA"]
        mail = message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((envelope.rcpt_tos, mail))
        self.connections.append((server.transport.get_extra_info("ssl_object") is not None, session.auth_data))
        return "250 OK"
