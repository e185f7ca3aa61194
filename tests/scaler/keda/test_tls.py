"""Who may ask: over TLS with a certificate of the client CA, and nobody else."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from cloudpulse.errors import AddressUnavailable, ConfigError
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource, captured_logs
from scaler.config import ScalerSettings
from tests.scaler.keda.conftest import Pki, Port, client_credentials

RULES = "metrics: [{name: ahead, api: external, query: queue_depth}]\n"
Serve = Callable[..., contextlib.AbstractContextManager[Port]]
Sampled = Callable[..., list[Series]]


@pytest.fixture
def world(sampled: Sampled) -> tuple[FakeSource, FakeClock]:
    clock = FakeClock()
    return FakeSource(lambda query: sampled(7.0, clock()), clock), clock


@pytest.fixture
def port(serve_keda: Serve, world: tuple[FakeSource, FakeClock], pki: Pki) -> Iterator[Port]:
    with serve_keda(RULES + pki.section, *world) as port:
        yield port


def test_a_certificate_of_the_client_ca_may_ask_and_its_name_is_audited(
    port: Port, pki: Pki, logged: list[dict[str, Any]]
) -> None:
    with port.client(client_credentials(pki.authority, pki.authority)) as keda:
        assert keda.metrics() == 7
        assert keda.spec() == ("ahead", 100)
        stream = keda.stream()
        assert next(stream) is True
        stream.cancel()
    assert {line["user"] for line in logged if "user" in line} == {"certificate:keda-operator"}


@pytest.mark.parametrize(
    "who", ["no certificate", "a certificate of another CA", "an expired certificate", "plain text"]
)
def test_nobody_else_may_ask(port: Port, pki: Pki, who: str) -> None:
    credentials = {
        "no certificate": client_credentials(pki.authority, None),
        "a certificate of another CA": client_credentials(pki.authority, trustme.CA()),
        "an expired certificate": client_credentials(
            pki.authority, pki.authority, datetime.now(UTC) - timedelta(minutes=1)
        ),
        "plain text": None,
    }[who]
    with port.client(credentials) as keda:
        assert keda.refused(keda.metrics)[0] is grpc.StatusCode.UNAVAILABLE
    with port.client(client_credentials(pki.authority, pki.authority)) as keda:
        assert keda.metrics() == 7


def test_a_client_that_trusts_another_ca_does_not_talk_to_us(port: Port, pki: Pki) -> None:
    with port.client(client_credentials(trustme.CA(), pki.authority)) as keda:
        assert keda.refused(keda.metrics)[0] is grpc.StatusCode.UNAVAILABLE


def test_renewed_files_count_from_the_next_connection_on(port: Port, pki: Pki) -> None:
    anew = trustme.CA()
    with port.client(client_credentials(pki.authority, pki.authority)) as before:
        assert before.metrics() == 7
        pki.write(anew)
        with port.client(client_credentials(anew, anew)) as keda:
            assert keda.metrics() == 7
        with port.client(client_credentials(anew, pki.authority)) as keda:
            assert keda.refused(keda.metrics)[0] is grpc.StatusCode.UNAVAILABLE
        assert before.metrics() == 7


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_half_written_files_keep_those_before_them_and_are_told_once(
    port: Port, pki: Pki, name: str, logged: list[dict[str, Any]]
) -> None:
    path = pki.folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    for _ in range(2):
        with port.client(client_credentials(pki.authority, pki.authority)) as keda:
            assert keda.metrics() == 7
    assert str(logged).count("certificate not reloaded") == 1
    path.unlink()
    with port.client(client_credentials(pki.authority, pki.authority)) as keda:
        assert keda.metrics() == 7


def test_tls_without_a_client_ca_serves_everyone_who_trusts_it_once_that_is_said(
    serve_keda: Serve, world: tuple[FakeSource, FakeClock], pki: Pki
) -> None:
    section = pki.section.replace(f", client_ca_file: {pki.folder / 'ca.crt'}", "").replace("0'", "0', insecure: true")
    with (
        serve_keda(RULES + section, *world) as port,
        port.client(client_credentials(pki.authority, None)) as keda,
    ):
        assert keda.metrics() == 7


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("tls.crt", r"cert_file: .*tls\.crt: no certificate in PEM"),
        ("tls.key", r"key_file: .*tls\.key: no private key in PEM"),
        ("ca.crt", r"client_ca_file: .*ca\.crt: no certificate in PEM"),
    ],
)
def test_files_that_cannot_be_used_end_the_start(
    serve_keda: Serve, world: tuple[FakeSource, FakeClock], pki: Pki, broken: str, why: str
) -> None:
    (pki.folder / broken).write_text("not PEM")
    with pytest.raises(ConfigError, match=why), serve_keda(RULES + pki.section, *world):
        pass


def test_a_key_of_another_certificate_and_a_missing_file_end_the_start(
    serve_keda: Serve, world: tuple[FakeSource, FakeClock], pki: Pki
) -> None:
    trustme.CA().issue_cert("x").private_key_pem.write_to_path(pki.folder / "tls.key")
    with pytest.raises(ConfigError, match="is not the key of"), serve_keda(RULES + pki.section, *world):
        pass
    (pki.folder / "tls.key").unlink()
    with pytest.raises(ConfigError, match=r"tls\.key: can't be read: No such file"):
        serve_keda(RULES + pki.section, *world).__enter__()


def test_a_taken_port_ends_the_start(serve_keda: Serve, world: tuple[FakeSource, FakeClock]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        section = f"keda: {{listen: '127.0.0.1:{other.getsockname()[1]}'}}"
        with pytest.raises(AddressUnavailable, match=r"choose another scaler\.keda\.listen"):
            serve_keda(RULES + section, *world).__enter__()


def test_grpc_says_nothing_of_a_server_that_is_being_freed(
    serve_keda: Serve, world: tuple[FakeSource, FakeClock]
) -> None:
    """At debug level it did, when a port was taken: the line freed the server again, and the process was gone."""
    with serve_keda(RULES, *world), captured_logs():
        assert not logging.getLogger("grpc._cython.cygrpc").isEnabledFor(logging.DEBUG)


def test_two_processes_cannot_share_the_port(serve_keda: Serve, world: tuple[FakeSource, FakeClock]) -> None:
    with serve_keda(RULES, *world) as port:
        section = f"keda: {{listen: '127.0.0.1:{port.server.port}'}}"
        with pytest.raises(AddressUnavailable):
            serve_keda(RULES + section, *world).__enter__()


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ("keda: {}", r"scaler\.keda: tls: missing; without it everyone who reaches :9814 may read"),
        ("keda: {listen: '0.0.0.0:9814'}", "tls: missing"),
        ("keda: {listen: 'example.org:9814'}", "tls: missing"),
        ("keda: {tls: {cert_file: a, key_file: b}}", r"tls\.client_ca_file: missing"),
        ("keda: {insecure: true, tls: {cert_file: a, key_file: b, client_ca_file: c}}", "contradicts"),
        ("keda: {listen: '9814', insecure: true}", 'listen: expected HOST:PORT such as :9814, got "9814"'),
        ("keda: {listen: ':http', insecure: true}", "listen: expected HOST:PORT"),
        ("keda: {tls: {cert_file: a}}", "key_file"),
        ("keda: {port: 1, insecure: true}", "port"),
    ],
)
def test_a_port_open_to_the_network_must_say_who_may_read(
    settings_of: Callable[[str], ScalerSettings], section: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        settings_of(section)


@pytest.mark.parametrize(
    "section",
    [
        "keda: {listen: 'localhost:9814'}",
        "keda: {listen: '127.0.0.1:9814'}",
        "keda: {listen: '[::1]:9814'}",
        "keda: {insecure: true}",
        "keda: {insecure: true, tls: {cert_file: a, key_file: b}}",
        "keda: {tls: {cert_file: a, key_file: b, client_ca_file: c}}",
    ],
)
def test_loopback_and_what_was_said_are_fine(settings_of: Callable[[str], ScalerSettings], section: str) -> None:
    assert settings_of(section).keda is not None


def test_without_the_section_nothing_is_served(settings_of: Callable[[str], ScalerSettings], tmp_path: Path) -> None:
    assert settings_of("interval: 15s").keda is None
