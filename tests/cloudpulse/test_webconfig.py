from __future__ import annotations

import os
import shutil
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests
import trustme

from cloudpulse import options, webconfig
from cloudpulse.errors import ConfigError
from cloudpulse.options import WebOptions
from cloudpulse.serving import Face, Health, Server
from cloudpulse.testing import FakeClock
from cloudpulse.webconfig import ReloadingContext, TlsServer, WebConfig

from .conftest import Certificates

PASSWORD = "correct horse"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


def _read(tmp_path: Path, text: str) -> WebConfig:
    file = tmp_path / "web.yml"
    file.write_text(text)
    return webconfig.read(file)


def test_an_empty_file_asks_for_nothing(tmp_path: Path) -> None:
    assert _read(tmp_path, "") == WebConfig()


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    tls = _read(
        tmp_path,
        "tls_server_config: {cert_file: a.crt, key_file: /etc/a.key, client_ca_file: sub/ca.pem,"
        " client_auth_type: RequireAndVerifyClientCert}",
    ).tls_server_config
    assert tls is not None
    assert tls.cert_file == tmp_path / "a.crt"
    assert tls.key_file == Path("/etc/a.key")
    assert tls.client_ca_file == tmp_path / "sub" / "ca.pem"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tls_server_config: {cert_file: a}", "tls_server_config: missing key `key_file`"),
        ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: []}", "unknown key `cipher_suites`"),
        ("tls_server: {}", "unknown key `tls_server`"),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}",
            'expected one of NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert, got "RequireAny',
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
            "client_auth_type RequireAndVerifyClientCert needs client_ca_file",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}",
            "client_ca_file needs a client_auth_type that verifies",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}",
            'min_version: expected one of TLS12, TLS13, got "TLS10"',
        ),
        ("basic_auth_users: {me: hunter2}", "basic_auth_users.me: expected a bcrypt hash"),
        ("basic_auth_users: {me: hunter2: x}", "not valid YAML: expected ',' or '}', but got ':' (line 1"),
        ("- a", "expected keys and values, got a list"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _read(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "web.yml") in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't read the web config: No such file"):
        webconfig.read(tmp_path / "web.yml")


def test_files_that_are_no_certificates_are_an_error(tmp_path: Path, certificates: Certificates) -> None:
    for cert, key in ((tmp_path / "none", certificates.key), (certificates.cert, certificates.ca)):
        with pytest.raises(ConfigError, match="TLS files can't be used"):
            webconfig.context(TlsServer(cert_file=cert, key_file=key))


def test_versions_are_those_asked_for(certificates: Certificates) -> None:
    settings = TlsServer(cert_file=certificates.cert, key_file=certificates.key, min_version="TLS13")
    assert webconfig.context(settings).minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_changed_certificate_is_used_and_a_broken_one_is_not(tmp_path: Path, certificates: Certificates) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(certificates.cert, cert)
    shutil.copy(certificates.key, key)
    errors: list[ConfigError] = []
    contexts = ReloadingContext(TlsServer(cert_file=cert, key_file=key), errors.append)
    first = contexts()
    assert contexts() is first

    cert.write_text("half a certificate")
    _touch(cert, 1)
    assert contexts() is first
    assert contexts() is first
    assert len(errors) == 1  # told once, not for every connection

    renewed = trustme.CA().issue_cert("localhost")
    renewed.cert_chain_pems[0].write_to_path(str(cert))
    renewed.private_key_pem.write_to_path(str(key))
    _touch(cert, 2)
    assert contexts() is not first
    cert.unlink()
    assert contexts() is contexts()
    assert len(errors) == 2


def test_a_change_that_could_not_be_used_once_is_tried_again(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key may be replaced after its certificate, or there may be no file descriptor left for a moment."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(certificates.cert, cert)
    shutil.copy(certificates.key, key)
    errors: list[ConfigError] = []
    ticks = FakeClock()
    contexts = ReloadingContext(TlsServer(cert_file=cert, key_file=key), errors.append, ticks=ticks)
    first = contexts()
    _touch(cert, 1)
    real, tried = webconfig.context, []

    def fails(*asked: Any) -> ssl.SSLContext:
        tried.append(asked)
        raise ConfigError("Too many open files")

    monkeypatch.setattr(webconfig, "context", fails)
    assert contexts() is contexts() is first
    assert (len(tried), len(errors)) == (1, 1)  # not for every connection
    ticks.advance(webconfig.RETRY_SECONDS)
    assert contexts() is first
    assert (len(tried), len(errors)) == (2, 1)  # the same is told once
    monkeypatch.setattr(webconfig, "context", real)
    assert contexts() is first
    ticks.advance(webconfig.RETRY_SECONDS)
    assert contexts() is not first
    assert contexts() is contexts()


def _touch(file: Path, seconds: int) -> None:
    later = time.time() + seconds
    os.utime(file, (later, later))


def _asked(server: Server, *answers: requests.auth.AuthBase | None, verify: str | bool = True) -> list[int]:
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()
    try:
        return [requests.get(f"{server.url}/metrics", auth=a, verify=verify, timeout=5).status_code for a in answers]
    finally:
        stop.set()
        thread.join(15)


def _face() -> Face:
    return Face("Test", [], lambda: Health(True))


def test_basic_auth_guards_every_path(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f"basic_auth_users: {{me: {HASH}}}")
    server = options.serve(_face(), WebOptions("127.0.0.1:0", file), threads=2)
    basic = requests.auth.HTTPBasicAuth
    assert _asked(
        server,
        None,
        basic("me", PASSWORD),
        basic("me", "wrong"),
        basic("you", PASSWORD),
        basic("me", ""),
        basic("you", "nobody"),  # what an unknown user's password is compared with opens nothing
        basic("me", PASSWORD + "x" * 80),
    ) == [401, 200, 401, 401, 401, 401, 401]


@pytest.mark.parametrize("header", ["", "Basic", "Basic !!!", "Basic bWU=", "Bearer abc", "Basic /w=="])
def test_a_broken_authorization_header_is_401(tmp_path: Path, header: str) -> None:
    app = options._BasicAuth(_face(), {"me": HASH})
    statuses: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "HTTP_AUTHORIZATION": header}
    list(app(environ, lambda status, headers: statuses.append(status)))
    assert statuses == ["401 Unauthorized"]


def test_tls_and_basic_auth_go_together(tmp_path: Path, certificates: Certificates) -> None:
    file = tmp_path / "web.yml"
    file.write_text(
        f"tls_server_config: {{cert_file: {certificates.cert}, key_file: {certificates.key}}}\n"
        f"basic_auth_users: {{me: {HASH}}}\n"
    )
    server = options.serve(_face(), WebOptions("127.0.0.1:0", file), threads=2)
    assert server.url.startswith("https://")
    answers = _asked(server, None, requests.auth.HTTPBasicAuth("me", PASSWORD), verify=str(certificates.ca))
    assert answers == [401, 200]
