"""TLS by the web config, over real connections, with the cases of exporter-toolkit's TestServerBehaviour."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import ssl
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import trustme

from cloudpulse import options, webtls
from cloudpulse.errors import ConfigError
from cloudpulse.options import WebOptions
from cloudpulse.serving import CLIENT_CERTIFICATE, Environ, Server, StartResponse
from cloudpulse.webaccess import WebFile
from cloudpulse.webconfig import TlsServer

from .conftest import Certificates

PAIR = "{cert_file: cert.pem, key_file: key.pem"
SERVER = f"tls_server_config: {PAIR}"
VERIFIED = f"{SERVER}, client_ca_file: ca.pem, client_auth_type: "
AES_128, AES_256 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
SUITES = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"


def _app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello " + (b"you" if CLIENT_CERTIFICATE in environ else b"World!")]


@pytest.fixture
def folder(tmp_path: Path, certificates: Certificates) -> Path:
    """A place of a web config, with the server's files and those of two clients."""
    for name in ("ca", "cert", "key", "client", "stranger"):
        shutil.copy(getattr(certificates, name), tmp_path)
    return tmp_path


class _Tested:
    """One server for all tests: what its next connection is served with is theirs to say."""

    def __init__(self) -> None:
        self._contexts: Callable[[], ssl.SSLContext] = lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server = Server(_app, "127.0.0.1:0", tls=lambda: self._contexts(), threads=2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._server.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def __call__(self, folder: Path, text: str) -> int:
        """The port, served by the web config `text` in `folder`."""
        (folder / "web.yml").write_text(text)
        contexts = WebFile(folder / "web.yml").context
        assert contexts is not None
        self._contexts = contexts
        return self._server.port

    def close(self) -> None:
        self._stop.set()
        self._thread.join(15)


@pytest.fixture(scope="module")
def serving() -> Iterator[_Tested]:
    tested = _Tested()
    yield tested
    tested.close()


def _client(folder: Path, certificate: str | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if certificate:
        made.load_cert_chain(folder / f"{certificate}.pem")
    return made


def _get(port: int, context: ssl.SSLContext) -> str:
    """The body, or why there is none."""
    asking = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    with contextlib.closing(asking):
        try:
            asking.request("GET", "/")
            return asking.getresponse().read().decode()
        except (ssl.SSLEOFError, ConnectionError, http.client.HTTPException):
            return "closed"
        except ssl.SSLError as error:
            return error.reason or str(error)


def _agreed(port: int, context: ssl.SSLContext) -> tuple[str, str]:
    """Protocol and cipher."""
    asking = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    with contextlib.closing(asking):
        asking.connect()
        suite = asking.sock.cipher()
        return str(asking.sock.version()), suite[0] if suite else ""


def test_a_tls_client_is_served_and_a_plain_one_is_not(serving: _Tested, folder: Path) -> None:
    port = serving(folder, f"{SERVER}}}")
    assert _get(port, _client(folder)) == "Hello World!"
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as plain:
        plain.request("GET", "/")
        answer = plain.getresponse()
        assert (answer.status, answer.read()) == (400, b"this port speaks https, not http.\n")


def test_an_empty_file_serves_plain_text(folder: Path) -> None:
    (folder / "web.yml").write_text("")
    assert WebFile(folder / "web.yml").context is None


def test_certificate_key_and_client_ca_may_stand_in_the_file_itself(serving: _Tested, folder: Path) -> None:
    def inline(name: str) -> str:
        return "".join(f"    {line}\n" for line in (folder / f"{name}.pem").read_text().splitlines())

    text = (
        f"tls_server_config:\n  cert: |\n{inline('cert')}  key: |\n{inline('key')}  client_ca: |\n{inline('ca')}"
        "  client_auth_type: RequireAndVerifyClientCert\n"
    )
    port = serving(folder, text)
    assert _get(port, _client(folder, "client")) == "Hello you"
    assert _get(port, _client(folder)) != "Hello World!"


def test_a_key_in_the_file_goes_with_a_certificate_beside_it(serving: _Tested, folder: Path) -> None:
    key = (folder / "key.pem").read_text().replace("\n", "\n    ")
    port = serving(folder, f"tls_server_config:\n  cert_file: cert.pem\n  key: |\n    {key}\n")
    assert _get(port, _client(folder)) == "Hello World!"


REFUSED = {
    "cert path invalid": ("{cert_file: none.pem, key_file: key.pem}", "cert_file .*none.pem.*: No such file"),
    "key path invalid": ("{cert_file: cert.pem, key_file: none.pem}", "key_file .*none.pem.*: No such file"),
    "both invalid": ("{cert_file: none.pem, key_file: none.pem}", "cert_file .*none.pem.*: No such file"),
    "another's key": ("{cert_file: cert.pem, key_file: stranger.pem}", "(?i)key.values.mismatch"),
    "no certificate": ("{cert_file: key.pem, key_file: key.pem}", "can't be used .*certificate .*key.pem"),
    "client CA path invalid": (
        f"{PAIR}, client_ca_file: none.pem, client_auth_type: RequireAndVerifyClientCert}}",
        "client_ca_file .*none.pem.*: No such file",
    ),
    "client CAs without a certificate": (
        f"{PAIR}, client_ca_file: key.pem, client_auth_type: RequireAndVerifyClientCert}}",
        "key.pem: no CA certificate in PEM",
    ),
    "client CA text without a certificate": (
        f"{PAIR}, client_ca: none, client_auth_type: RequireAndVerifyClientCert}}",
        "client_ca: no CA certificate in PEM",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_files_that_can_not_be_used_are_refused_at_start(folder: Path, text: str, message: str) -> None:
    (folder / "web.yml").write_text(f"tls_server_config: {text}")
    with pytest.raises(ConfigError, match=message):
        options.serve(_app, WebOptions("127.0.0.1:0", folder / "web.yml"))


def test_an_encrypted_key_is_refused_and_no_one_is_asked_for_its_pass_phrase(folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    encrypted = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"hunter2"))
    (folder / "key.pem").write_bytes(encrypted)
    with pytest.raises(ConfigError, match="the key is encrypted: give it without a pass phrase"):
        webtls.context(TlsServer(cert_file=folder / "cert.pem", key_file=folder / "key.pem"))


def _old(folder: Path) -> ssl.SSLContext:
    client = _client(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = ssl.TLSVersion.TLSv1
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    return client


def test_tls_1_1_is_refused_unless_it_is_asked_for(serving: _Tested, folder: Path) -> None:
    port = serving(folder, f"{SERVER}}}")
    assert _get(port, _old(folder)) == "TLSV1_ALERT_PROTOCOL_VERSION"
    port = serving(folder, f"{SERVER}, min_version: TLS10}}")
    assert _get(port, _old(folder)) == "Hello World!"


@pytest.mark.parametrize(
    ("limits", "version"),
    [("max_version: TLS12", "TLSv1.2"), ("min_version: TLS13", "TLSv1.3"), ("max_version: TLS13", "TLSv1.3")],
)
def test_versions_are_those_asked_for(serving: _Tested, folder: Path, limits: str, version: str) -> None:
    port = serving(folder, f"{SERVER}, {limits}}}")
    assert _agreed(port, _client(folder))[0] == version


def _ciphers(folder: Path, *names: str) -> ssl.SSLContext:
    client = _client(folder)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(":".join(names))
    return client


def test_only_the_ciphers_that_are_named_are_used_and_in_the_order_of_whom_the_file_says(
    serving: _Tested, folder: Path
) -> None:
    port = serving(folder, f"{SERVER}, cipher_suites: [{SUITES}]}}")
    assert _agreed(port, _ciphers(folder, AES_128)) == ("TLSv1.2", AES_128)
    assert _get(port, _ciphers(folder, "ECDHE-ECDSA-AES256-SHA")) == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert _agreed(port, _ciphers(folder, AES_128, AES_256))[1] == AES_256
    assert _agreed(port, _client(folder))[0] == "TLSv1.3"  # whose ciphers can't be chosen, as in Go
    port = serving(folder, f"{SERVER}, cipher_suites: [{SUITES}], prefer_server_cipher_suites: false}}")
    assert _agreed(port, _ciphers(folder, AES_128, AES_256))[1] == AES_128


def test_ciphers_of_tls_1_3_alone_leave_nothing_for_tls_1_2(serving: _Tested, folder: Path) -> None:
    port = serving(folder, f"{SERVER}, cipher_suites: [TLS_AES_128_GCM_SHA256]}}")
    assert _agreed(port, _client(folder))[0] == "TLSv1.3"
    assert _get(port, _ciphers(folder, AES_128)) == "TLSV1_ALERT_PROTOCOL_VERSION"


def test_ciphers_without_those_of_http2_are_fine_since_http_1_1_is_spoken(serving: _Tested, folder: Path) -> None:
    text = f"{SERVER}, max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA]}}"
    port = serving(folder, f"{text}\nhttp_server_config: {{http2: true}}")
    assert _agreed(port, _ciphers(folder, "ECDHE-ECDSA-AES128-SHA"))[1] == "ECDHE-ECDSA-AES128-SHA"


def test_the_ciphers_that_go_offers_by_default_are_offered_and_no_others(folder: Path) -> None:
    made = webtls.context(TlsServer(cert_file=folder / "cert.pem", key_file=folder / "key.pem"))
    offered = [suite["name"] for suite in made.get_ciphers() if not suite["name"].startswith("TLS_")]
    strong = ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305", "AES128-SHA", "AES256-SHA")
    assert sorted(offered) == sorted(f"ECDHE-{key}-{suite}" for key in ("ECDSA", "RSA") for suite in strong)


def _curve(folder: Path, name: str) -> ssl.SSLContext:
    client = _client(folder)
    client.set_ecdh_curve(name)
    return client


def test_only_the_curve_that_is_named_is_used(serving: _Tested, folder: Path) -> None:
    port = serving(folder, f"{SERVER}, min_version: TLS13, curve_preferences: [CurveP521]}}")
    assert _get(port, _curve(folder, "secp521r1")) == "Hello World!"
    assert _get(port, _curve(folder, "secp384r1")) == "SSLV3_ALERT_HANDSHAKE_FAILURE"


@pytest.mark.parametrize("curve", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
def test_every_curve_of_the_toolkit_can_be_named_first(folder: Path, curve: str) -> None:
    made = webtls.context(
        TlsServer(cert_file=folder / "cert.pem", key_file=folder / "key.pem", curve_preferences=(curve, "CurveP256"))
    )
    assert isinstance(made, ssl.SSLContext)


POLICIES = {
    # client_auth_type -> what a client gets without a certificate, with one that the CA signed, with a stranger's
    "VerifyClientCertIfGiven": ("Hello World!", "Hello you", "TLSV1_ALERT_UNKNOWN_CA"),
    "RequireAndVerifyClientCert": ("SSLV3_ALERT_HANDSHAKE_FAILURE", "Hello you", "TLSV1_ALERT_UNKNOWN_CA"),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_clients_are_asked_as_the_policy_says(serving: _Tested, folder: Path, policy: str) -> None:
    port = serving(folder, f"{VERIFIED}{policy}}}")
    for certificate, expected in zip((None, "client", "stranger"), POLICIES[policy], strict=True):
        client = _client(folder, certificate)
        assert _get(port, client).startswith("Hello") == expected.startswith("Hello")
        client.maximum_version = ssl.TLSVersion.TLSv1_2  # in which the alert always comes before the end
        assert _get(port, client) == expected


@pytest.mark.parametrize("policy", ["NoClientCert", "RequestClientCert"])
def test_a_certificate_that_nobody_verifies_is_never_believed(serving: _Tested, folder: Path, policy: str) -> None:
    port = serving(folder, f"{SERVER}, client_auth_type: {policy}}}")
    for certificate in (None, "client", "stranger"):
        assert _get(port, _client(folder, certificate)) == "Hello World!"


def test_without_a_client_ca_it_is_the_systems_that_must_have_signed(
    serving: _Tested, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    port = serving(folder, f"{SERVER}, client_auth_type: RequireAndVerifyClientCert}}")
    assert _get(port, _client(folder, "client")) == "Hello you"
    assert not _get(port, _client(folder, "stranger")).startswith("Hello")


SANS = {
    "DNS": "test3",
    "e-mail": "bot@example.org",
    "IPv4": "192.0.2.7",
    "IPv6": "2001:db8::68",
}


@pytest.mark.parametrize("san", SANS.values(), ids=SANS)
def test_a_client_of_an_allowed_name_is_let_in(serving: _Tested, folder: Path, san: str) -> None:
    authority = trustme.CA()
    authority.issue_cert(*SANS.values()).private_key_and_cert_chain_pem.write_to_path(folder / "named.pem")
    authority.cert_pem.write_to_path(folder / "clients.pem")
    text = f"{SERVER}, client_ca_file: clients.pem, client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: "
    port = serving(folder, f'{text}[other, "{san}"]}}')
    assert _get(port, _client(folder, "named")) == "Hello you"


def test_a_client_of_no_allowed_name_is_turned_away_before_its_request(serving: _Tested, folder: Path) -> None:
    for names in ("[other, client@example.or]", "[]", "['*']", "[CLIENT@example.org]"):
        port = serving(folder, f"{VERIFIED}RequireAndVerifyClientCert, client_allowed_sans: {names}}}")
        assert _get(port, _client(folder, "client")) == "closed"


def test_an_allowed_name_does_not_help_a_certificate_of_another_ca(serving: _Tested, folder: Path) -> None:
    port = serving(folder, f"{VERIFIED}RequireAndVerifyClientCert, client_allowed_sans: [x@example.org]}}")
    assert not _get(port, _client(folder, "stranger")).startswith("Hello")


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        (("URI", "spiffe://example.org/prometheus"), "spiffe://example.org/prometheus"),
        (("IP Address", "2001:DB8:0:0:0:0:0:68\n"), "2001:db8::68"),
        (("IP Address", "0:0:0:0:0:FFFF:C000:207"), "192.0.2.7"),
        (("DNS", "a.example.org"), "a.example.org"),
    ],
)
def test_names_are_written_as_go_writes_them(entry: tuple[str, str], name: str) -> None:
    assert list(webtls._names({"subjectAltName": (entry, ("DirName", "x"), ("IP Address", "?"))})) == [name]
