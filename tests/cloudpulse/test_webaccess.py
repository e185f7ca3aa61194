"""The web config at work, over HTTP: who is let in, how often, what stands in answers; and what a change of it does."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests
import trustme

from cloudpulse import options, passwords
from cloudpulse.errors import ConfigError
from cloudpulse.options import WebOptions
from cloudpulse.reloading import Reload
from cloudpulse.remaking import RETRY_SECONDS
from cloudpulse.serving import GUARDS, Environ, Face, Health, StartResponse
from cloudpulse.testing import FakeClock, captured_logs, serving
from cloudpulse.webaccess import Gate, WebFile

from .conftest import Certificates

HASH = bcrypt.hashpw(b"alice123", bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users: {{alice: {HASH}}}\n"
EVERY = ("/", "/metrics", "/-/healthy", "/-/ready", "/health", "/other")
INGEST = ("POST", "/api/v1/alerts")


class _Web:
    """A web config in a file, the service behind it, and its time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "web.yml"
        self.ticks = FakeClock()
        self.clock = FakeClock(1000.0)
        self._written = 0

    def write(self, text: str, path: Path | None = None) -> None:
        """Make the file anew; what was written last is newest, whatever the file system's clock can tell apart."""
        self._written += 1
        file = path or self.path
        file.write_text(text)
        later = time.time() + self._written
        os.utime(file, (later, later))

    @contextlib.contextmanager
    def served(self, text: str) -> Iterator[str]:
        """The URL of a service under `text`."""
        self.write(text)
        self.file = WebFile(self.path, self.clock, self.ticks)
        self.reload = Reload(lambda: None, self.clock, self.file)
        face = Face("Test", (self.reload,), lambda: Health(True), app=_ingest, reload=self.reload)
        with serving(Gate(face, self.file.rules, [INGEST])) as url:
            yield url


def _ingest(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Frame-Options", "sameorigin")])
    return [b"stored"]


@pytest.fixture
def web(tmp_path: Path) -> _Web:
    return _Web(tmp_path)


def _raw_status(url: str, line: str) -> int:
    """Of a request with that line, which no client's library would write so."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10) as client:
        client.sendall(f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return int(client.makefile("rb").readline().split()[1])


def _status(url: str, path: str = "/metrics", user: str = "", password: str = "", method: str = "GET") -> int:
    auth = requests.auth.HTTPBasicAuth(user, password) if user else None
    return requests.request(method, f"{url}{path}", auth=auth, timeout=10).status_code


def _failed(url: str, **auth: str) -> bool:
    page = requests.get(f"{url}/metrics", auth=requests.auth.HTTPBasicAuth(**auth) if auth else None, timeout=10).text
    return "cloudpulse_web_config_last_reload_successful 0" in page


def test_without_a_web_config_everyone_is_let_in_and_there_are_no_series_about_one() -> None:
    web = WebOptions("127.0.0.1:0")
    assert web.file is None
    names = [family.name for family in Reload(lambda: None, FakeClock(), web.file).collect()]
    assert not [name for name in names if "web_config" in name]


def test_basic_auth_guards_every_path(web: _Web) -> None:
    with web.served(USERS) as url:
        for path in EVERY:
            assert _status(url, path) == 401
            assert _status(url, path, "alice", "alice123") == 200
        assert _status(url, "/-/reload", method="POST") == 401
        assert _status(url, "/metrics", "alice", "alice1234") == 401
        assert _status(url, "/metrics", "fakeuser", "fakepassword") == 401
        assert _status(url, "/metrics", "alice$" + HASH, "alice123") == 401


def test_a_refusal_asks_for_basic_auth_and_shows_nothing(web: _Web) -> None:
    with web.served(USERS) as url:
        answer = requests.get(f"{url}/metrics", timeout=10)
        assert (answer.status_code, answer.text) == (401, "Unauthorized\n")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="cloudpulse"'
        assert all(answer.headers[name] == value for name, value in GUARDS)
        assert requests.head(f"{url}/metrics", timeout=10).status_code == 401
        with requests.Session() as session:  # a body that nobody read is no part of the next request
            assert session.post(f"{url}/metrics", data=b"GET / HTTP/1.1\r\n\r\n", timeout=10).status_code == 401
            assert session.get(f"{url}/metrics", auth=("alice", "alice123"), timeout=10).status_code == 200


@pytest.mark.parametrize("header", ["", "Basic", "Basic !!!", "Basic bWU=", "Bearer abc", "Basic /w==", "Basic é"])
def test_a_broken_authorization_header_is_401(web: _Web, header: str) -> None:
    web.write(USERS)
    gate, statuses = Gate(_ingest, WebFile(web.path).rules), []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "HTTP_AUTHORIZATION": header}
    list(gate(environ, lambda status, headers: statuses.append(status)))
    assert statuses == ["401 Unauthorized"]


def test_a_flood_of_wrong_passwords_stops_nobody_whose_right_one_is_known(
    web: _Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many requests as there are threads; bcrypt does not end while they are there."""
    ended = threading.Event()
    with web.served(USERS) as url:
        assert _status(url, "/metrics", "alice", "alice123") == 200
        monkeypatch.setattr(passwords, "_hash", lambda password, salt: b"" if ended.wait(30) else b"late")
        statuses: list[int] = []
        flood = [
            threading.Thread(target=lambda n=n: statuses.append(_status(url, "/", "alice", f"no{n}")), daemon=True)
            for n in range(16)
        ]
        for thread in flood:
            thread.start()
        deadline = time.monotonic() + 20
        while len(statuses) < len(flood) - passwords.PLACES_EACH and time.monotonic() < deadline:
            time.sleep(0.01)
        assert statuses == [503] * (len(flood) - passwords.PLACES_EACH)
        assert _status(url, "/metrics", "alice", "alice123") == 200
        ended.set()
        for thread in flood:
            thread.join(20)
        assert sorted(statuses) == [401] * passwords.PLACES_EACH + [503] * (len(flood) - passwords.PLACES_EACH)


def test_headers_stand_in_every_answer_and_take_the_place_of_ours(web: _Web) -> None:
    given = {
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
        "X-Frame-Options": "deny",
        "X-Content-Type-Options": "nosniff",
        "X-XSS-Protection": "1",
        "Content-Security-Policy": "frame-ancestors 'self' é",
    }
    text = "http_server_config:\n  headers:\n" + "".join(f'    {name}: "{value}"\n' for name, value in given.items())
    with web.served(f"{text}{USERS}") as url:
        for auth in (("alice", "alice123"), ("alice", "wrong")):
            for path in ("/", "/api/v1/alerts"):
                answer = requests.get(f"{url}{path}", auth=auth, timeout=10)
                got = {name: answer.headers[name].encode("latin-1").decode() for name in given}
                assert got == given


def test_a_blank_header_is_not_set(web: _Web) -> None:
    with web.served('http_server_config: {headers: {Content-Security-Policy: "", X-XSS-Protection: ""}}') as url:
        headers = requests.get(url, timeout=10).headers
        assert headers["Content-Security-Policy"] == dict(GUARDS)["Content-Security-Policy"]
        assert "X-XSS-Protection" not in headers


def test_requests_beyond_the_rate_are_429_and_never_those_that_the_service_exempts(web: _Web) -> None:
    with web.served("rate_limit: {interval: 2s, burst: 3}") as url:
        assert [_status(url) for _ in range(5)] == [200, 200, 200, 429, 429]
        refused = requests.get(url, timeout=10)
        assert (refused.text, refused.headers["Retry-After"]) == ("Too Many Requests\n", "2")
        assert [_status(url, INGEST[1], method="POST") for _ in range(5)] == [200] * 5
        for written in ("//api/v1/alerts", "/api//v1/alerts/", f"{url}/api/v1/alerts", "/api/v1/%61lerts"):
            assert _raw_status(url, f"POST {written} HTTP/1.1") == 200, written
        assert _status(url, INGEST[1]) == 429
        assert _raw_status(url, "POST /api/v1/alerts/x HTTP/1.1") == 429
        web.ticks.advance(2)
        assert [_status(url) for _ in range(2)] == [200, 429]
        web.ticks.advance(3600)
        assert [_status(url) for _ in range(4)] == [200, 200, 200, 429]


def test_the_rate_limit_comes_before_passwords(web: _Web) -> None:
    with web.served(f"rate_limit: {{interval: 1h, burst: 1}}\n{USERS}") as url:
        assert [_status(url), _status(url)] == [401, 429]


def test_an_interval_of_0_limits_nothing(web: _Web) -> None:
    with web.served("rate_limit: {interval: 0s, burst: 0}") as url:
        assert [_status(url) for _ in range(10)] == [200] * 10


def test_a_changed_rate_limit_holds_with_a_fresh_burst_and_an_unchanged_one_keeps_its_bucket(web: _Web) -> None:
    limited = "rate_limit: {interval: 1h, burst: 1}\n"
    with web.served(limited) as url:
        assert [_status(url), _status(url)] == [200, 429]
        web.write("http_server_config: {http2: true}")
        assert [_status(url), _status(url)] == [200, 200]
        web.write(limited)
        assert [_status(url), _status(url)] == [200, 429]
        web.write(f"# other users, the same limit\n{limited}")
        assert _status(url) == 429


def test_a_change_holds_for_the_next_request(web: _Web) -> None:
    with web.served(USERS) as url:
        assert _status(url, "/", "alice", "alice123") == 200
        bob = bcrypt.hashpw(b"bob123", bcrypt.gensalt(4)).decode()
        web.write(f"basic_auth_users: {{bob: {bob}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}")
        assert _status(url, "/", "alice", "alice123") == 401
        answer = requests.get(url, auth=("bob", "bob123"), timeout=10)
        assert (answer.status_code, answer.headers["X-Frame-Options"]) == (200, "deny")


BROKEN = {
    "no YAML": ("basic_auth_users: {alice: ", "not valid YAML"),
    "a hash cut short": (f"basic_auth_users: {{alice: {HASH[:30]}}}", "expected a bcrypt hash"),
    "emptied": ("", "basic_auth_users is gone"),
    "cut before the users": ("http_server_config: {http2: true}\n", "basic_auth_users is gone"),
    "cut within the users": ("basic_auth_users:\n", "basic_auth_users is gone"),
    "TLS where there was none": (f"{USERS}tls_server_config: {{cert: x, key: y}}", "tls_server_config is new"),
}


@pytest.mark.parametrize(("text", "why"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_can_not_be_used_or_leaves_a_protection_out_keeps_what_is_in_force(
    web: _Web, text: str, why: str
) -> None:
    """Editors truncate before they write: what is missing may only be missing for now."""
    with web.served(USERS) as url, captured_logs() as logged:
        web.write(text)
        assert [_status(url), _status(url, user="alice", password="alice123")] == [401, 200]
        assert _failed(url, username="alice", password="alice123")
        told = [entry for entry in logged if entry["level"] == "error"]
        assert len(told) == 1
        assert why in told[0]["error"]
        assert HASH[:30] not in str(told)
        web.write(USERS)
        assert not _failed(url, username="alice", password="alice123")


def test_no_users_in_so_many_words_is_taken(web: _Web) -> None:
    with web.served(USERS) as url:
        web.write("basic_auth_users: {}")
        assert _status(url) == 200


def test_a_file_that_is_gone_keeps_what_is_in_force_and_is_looked_for_again(web: _Web) -> None:
    with web.served(USERS) as url:
        web.path.unlink()
        assert [_status(url), _status(url, user="alice", password="alice123")] == [401, 200]
        web.ticks.advance(RETRY_SECONDS)
        assert _status(url) == 401
        web.write("basic_auth_users: {}")
        assert _status(url) == 200


def test_a_reload_says_that_the_web_config_is_broken(web: _Web) -> None:
    with web.served("") as url:
        assert _status(url, "/-/reload", method="POST") == 200
        web.write("nonsense: 1")
        answer = requests.post(f"{url}/-/reload", timeout=10)
        assert answer.status_code == 500
        assert "unknown key `nonsense`" in answer.text
        page = requests.get(f"{url}/metrics", timeout=10).text
        assert "cloudpulse_config_last_reload_successful 1" in page
        assert "cloudpulse_web_config_last_reload_successful 0" in page
        web.clock.advance(60)
        web.write("")
        assert requests.post(f"{url}/-/reload", timeout=10).status_code == 200
        page = requests.get(f"{url}/metrics", timeout=10).text
        assert "cloudpulse_web_config_last_reload_success_timestamp_seconds 1060" in page


def test_a_broken_config_does_not_hold_up_the_web_config(web: _Web) -> None:
    class Broken(Exception):
        pass

    def fails() -> None:
        raise ConfigError("broken")

    web.write("")
    file = WebFile(web.path, web.clock, web.ticks)
    web.write("http_server_config: {headers: {X-Frame-Options: deny}}")
    with pytest.raises(ConfigError, match="broken"):
        Reload(fails, web.clock, file)()
    assert file.rules().headers == (("X-Frame-Options", "deny"),)


def _tls(folder: Path, certificates: Certificates, more: str = "") -> str:
    return f"tls_server_config: {{cert_file: own.pem, key_file: own.key, client_ca_file: {certificates.ca}{more}}}\n"


VERIFIED = ", client_auth_type: RequireAndVerifyClientCert"


@pytest.fixture
def own(tmp_path: Path, certificates: Certificates) -> Path:
    (tmp_path / "own.pem").write_bytes(certificates.cert.read_bytes())
    (tmp_path / "own.key").write_bytes(certificates.key.read_bytes())
    return tmp_path


LOST = {
    "TLS": ("", "tls_server_config is gone"),
    "policy": ("tls_server_config: {cert_file: own.pem, key_file: own.key}", "client_auth_type is gone"),
    "client CA": (
        f"tls_server_config: {{cert_file: own.pem, key_file: own.key{VERIFIED}}}",
        "client_ca_file is gone",
    ),
    "SANs": ("SAME", "client_allowed_sans is gone"),
}


@pytest.mark.parametrize(("text", "why"), LOST.values(), ids=LOST)
def test_tls_and_what_is_asked_of_clients_is_not_lost_by_omission(
    web: _Web, own: Path, certificates: Certificates, text: str, why: str
) -> None:
    web.write(_tls(own, certificates, f"{VERIFIED}, client_allowed_sans: [a]"))
    file = WebFile(web.path, web.clock, web.ticks)
    assert file.context is not None
    before = file.context()
    web.write(_tls(own, certificates, VERIFIED) if text == "SAME" else text)
    with pytest.raises(ConfigError, match=f"{why}, which is how a half-written file looks"):
        file.reload()
    assert file.context() is before


def test_a_policy_in_so_many_words_is_taken_for_the_next_connection(
    web: _Web, own: Path, certificates: Certificates
) -> None:
    """exporter-toolkit's TestConfigReloading: from a policy that refuses its client to one that does not."""
    web.write(_tls(own, certificates, VERIFIED))
    server = options.serve(_ingest, web_options := WebOptions("127.0.0.1:0", web.path), threads=2)
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()
    try:
        assert server.url.startswith("https://")
        with pytest.raises(requests.ConnectionError):
            requests.get(server.url, verify=str(certificates.ca), timeout=10)
        web.write(_tls(own, certificates, ", client_auth_type: VerifyClientCertIfGiven"))
        assert requests.get(server.url, verify=str(certificates.ca), timeout=10).text == "stored"
        assert web_options.file is not None
    finally:
        stop.set()
        thread.join(15)


def test_a_renewed_certificate_is_shown_even_while_the_file_itself_is_broken(
    web: _Web, own: Path, certificates: Certificates
) -> None:
    web.write(_tls(own, certificates, VERIFIED))
    file = WebFile(web.path, web.clock, web.ticks)
    assert file.context is not None
    first = file.context()
    web.write("nonsense: 1")
    assert file.context() is first
    renewed = trustme.CA().issue_cert("localhost")
    web.write(renewed.cert_chain_pems[0].bytes().decode(), own / "own.pem")
    assert file.context() is first  # without its key
    web.write(renewed.private_key_pem.bytes().decode(), own / "own.key")
    assert file.context().certificate == renewed.cert_chain_pems[0].bytes()
    assert dict(_values(file)) == {"cloudpulse_web_config_last_reload_successful": 0.0}


def test_a_broken_certificate_is_told_in_the_series_without_a_new_connection(
    web: _Web, own: Path, certificates: Certificates
) -> None:
    web.write(_tls(own, certificates, VERIFIED))
    file = WebFile(web.path, web.clock, web.ticks)
    assert dict(_values(file)) == {"cloudpulse_web_config_last_reload_successful": 1.0}
    web.write("half", own / "own.pem")
    assert dict(_values(file)) == {"cloudpulse_web_config_last_reload_successful": 0.0}


def _values(file: WebFile) -> Iterator[tuple[str, Any]]:
    return ((each.name, value) for each, value in file.state() if each.name.endswith("successful"))


def test_neither_tls_nor_bcrypt_is_loaded_for_who_has_no_web_config() -> None:
    import subprocess
    import sys

    heavy = "{'cloudpulse.webtls', 'cloudpulse.webconfig', 'cloudpulse.webaccess', 'bcrypt'}"
    program = (
        f"import sys; from cloudpulse import options; options.WebOptions(':0').file; print({heavy} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "set()\n"
