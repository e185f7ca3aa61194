"""What the alert bridge's tests share: an outbox on a fake clock, a receiver, bridge processes."""

from __future__ import annotations

import email.policy
import socket
import ssl
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from alert_bridge.database import Database
from alert_bridge.outbox import Outbox
from alert_bridge.testing import BridgeProcess, Receiver
from cloudpulse.testing import FakeClock, serving


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def outbox(database: Database, clock: FakeClock) -> Outbox:
    return Outbox(database, clock, repeat_after=600, give_up_after=3600)


@pytest.fixture(scope="session")
def front() -> Iterator[tuple[list[Receiver], str]]:
    """One server for all tests, since its start and stop would be most of their time; the last Receiver answers."""
    receivers: list[Receiver] = []
    with serving(lambda environ, start_response: receivers[-1](environ, start_response)) as url:
        yield receivers, url


@pytest.fixture
def receiver(front: tuple[list[Receiver], str]) -> tuple[Receiver, str]:
    receivers, url = front
    receivers.append(Receiver())
    return receivers[-1], url


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[Callable[[str], BridgeProcess]]:
    """Start a bridge process whose `alert_bridge` section has these lines of YAML and a data_dir."""
    started: list[BridgeProcess] = []

    def start(lines: str) -> BridgeProcess:
        started.append(BridgeProcess(tmp_path / f"bridge{len(started)}", lines))
        return started[-1]

    yield start
    for bridge in started:
        bridge.kill()


class PostOffice:
    """An SMTP server's handler that keeps what it takes, and answers as `answers` says for a command or a recipient."""

    def __init__(self) -> None:
        self.port = 0
        self.answers: dict[str, str] = {}
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.connections: list[tuple[bool, object]] = []
        """Of each mail: whether it came encrypted, and who had logged in."""

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


@pytest.fixture(scope="session")
def mail_authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def post_office(mail_authority: trustme.CA) -> Iterator[Callable[..., PostOffice]]:
    """Start an SMTP server on 127.0.0.1: `tls` is None, starttls or tls; `login` who alone may send."""
    running: list[Controller] = []
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mail_authority.issue_cert("127.0.0.1").configure_cert(certificate)

    def start(tls: str | None = None, login: tuple[bytes, bytes] | None = None, **options: Any) -> PostOffice:
        office = PostOffice()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            office.port = free.getsockname()[1]

        def authenticate(server: SMTP, session: Any, envelope: Any, mechanism: str, data: LoginPassword) -> AuthResult:
            known = (data.login, data.password) == login
            return AuthResult(success=known, handled=False, auth_data=data.login)

        options |= {"authenticator": authenticate, "auth_required": True} if login else {}
        options |= {"tls_context": certificate, "require_starttls": True} if tls == "starttls" else {}
        # aiosmtpd doesn't count implicit TLS as encrypted.
        options |= {"ssl_context": certificate, "auth_require_tls": False} if tls == "tls" else {}
        controller = Controller(office, hostname="127.0.0.1", port=office.port, **options)
        controller.start()
        running.append(controller)
        return office

    yield start
    for controller in running:
        controller.stop()
