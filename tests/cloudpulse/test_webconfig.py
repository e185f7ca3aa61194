"""What the file may say, with the cases of exporter-toolkit's own tests (web/tls_config_test.go, web/testdata)."""

from __future__ import annotations

from pathlib import Path

import bcrypt
import pytest

from cloudpulse import webconfig
from cloudpulse.errors import ConfigError
from cloudpulse.webconfig import (
    AUTH_TYPES,
    CIPHERS,
    CIPHERS_13,
    CURVES,
    HEADERS,
    UNVERIFIED,
    VERSIONS,
    HttpServer,
    RateLimit,
    TlsServer,
    WebConfig,
)

HASH = bcrypt.hashpw(b"dave123", bcrypt.gensalt(4)).decode()
FILES = "cert_file: server.crt, key_file: server.key"


def _read(tmp_path: Path, text: str) -> WebConfig:
    file = tmp_path / "web.yml"
    file.write_text(text)
    return webconfig.read(file)


def _tls(tmp_path: Path, more: str) -> TlsServer:
    found = _read(tmp_path, f"tls_server_config: {{{FILES}, {more}}}").tls_server_config
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["", "# nothing", "tls_server_config:\nhttp_server_config:\nrate_limit:\n"])
def test_an_empty_file_asks_for_nothing(tmp_path: Path, text: str) -> None:
    assert _read(tmp_path, text) == WebConfig()


def test_the_defaults_are_the_toolkits(tmp_path: Path) -> None:
    tls = _tls(tmp_path, "")
    assert (tls.min_version, tls.max_version, tls.prefer_server_cipher_suites) == ("TLS12", "TLS13", True)
    assert (tls.client_auth_type, tls.verifies, tls.cipher_suites, tls.curve_preferences) == (None, False, (), ())


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


REFUSED = {
    "invalid structure": ("hahaha", "expected keys and values, got a text"),
    "invalid key": ("tls_server: {}", "unknown key `tls_server`"),
    "cert path empty": ('tls_server_config: {cert_file: "", key_file: k}', "missing one of cert or cert_file"),
    "cert empty": ("tls_server_config: {cert: '', key_file: k}", "missing one of cert or cert_file"),
    "key path empty": ("tls_server_config: {cert_file: c, key_file: ''}", "missing one of key or key_file"),
    "key empty": ("tls_server_config: {cert_file: c, key: ''}", "missing one of key or key_file"),
    "cert path and key path empty": (
        "tls_server_config: {cert_file: '', key_file: '', client_auth_type: x}",
        "missing one of cert or cert_file",
    ),
    "client CAs without a policy": (
        f"tls_server_config: {{{FILES}, client_ca_file: ca}}",
        "client CAs without a policy: client_auth_type",
    ),
    "client CAs with NoClientCert": (
        f"tls_server_config: {{{FILES}, client_ca: ca, client_auth_type: NoClientCert}}",
        "client CAs without a policy: client_auth_type",
    ),
    "invalid ClientAuth": (
        f"tls_server_config: {{{FILES}, client_auth_type: X}}",
        'client_auth_type: unknown policy "X", expected one of NoClientCert, RequestClientCert, Verify',
    ),
    "invalid user list": ("basic_auth_users: {dave: bad}", "basic_auth_users.dave: expected a bcrypt hash"),
    "bad cipher": (
        f"tls_server_config: {{{FILES}, cipher_suites: [TLS_ZZZ]}}",
        'cipher_suites: unknown cipher "TLS_ZZZ", expected one of TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ',
    ),
    "bad curves": (
        f"tls_server_config: {{{FILES}, curve_preferences: [CurveP257]}}",
        'curve_preferences: unknown curve "CurveP257", expected one of CurveP256, CurveP384, CurveP521, X25519',
    ),
    "bad TLS version": (
        f"tls_server_config: {{{FILES}, min_version: TLS111}}",
        'min_version: unknown TLS version "TLS111", expected one of TLS10, TLS11, TLS12, TLS13',
    ),
    "X-Content-Type-Options": (
        "http_server_config: {headers: {X-Content-Type-Options: sniff}}",
        'headers.X-Content-Type-Options: expected nosniff, got "sniff"',
    ),
    "X-Frame-Options": (
        "http_server_config: {headers: {X-Frame-Options: allow}}",
        'headers.X-Frame-Options: expected deny or sameorigin, got "allow"',
    ),
    "header that can't be overridden": (
        "http_server_config: {headers: {Cache-Control: x}}",
        'headers: unknown header "Cache-Control", expected one of Strict-Transport-Security',
    ),
    "SANs where no certificate is asked for": (
        f"tls_server_config: {{{FILES}, client_allowed_sans: [a]}}",
        "client_allowed_sans needs client_auth_type RequireAndVerifyClientCert",
    ),
    "SANs where a certificate may be left out": (
        f"tls_server_config: {{{FILES}, client_allowed_sans: [a], client_auth_type: VerifyClientCertIfGiven}}",
        "client_allowed_sans needs client_auth_type RequireAndVerifyClientCert",
    ),
    # From here on: what the toolkit takes, or says later.
    "TLS without a certificate": ("tls_server_config: {min_version: TLS13}", "missing one of cert or cert_file"),
    "any client certificate": (
        f"tls_server_config: {{{FILES}, client_auth_type: RequireAnyClientCert}}",
        "use RequireAndVerifyClientCert with client_ca_file, or NoClientCert",
    ),
    "any client certificate, as it was once called": (
        f"tls_server_config: {{{FILES}, client_auth_type: RequireClientCert}}",
        "use RequireAndVerifyClientCert with client_ca_file, or NoClientCert",
    ),
    "versions the wrong way round": (
        f"tls_server_config: {{{FILES}, min_version: TLS13, max_version: TLS12}}",
        "min_version TLS13 is above max_version TLS12",
    ),
    "no cipher of these versions": (
        f"tls_server_config: {{{FILES}, max_version: TLS12, cipher_suites: [TLS_AES_128_GCM_SHA256]}}",
        "cipher_suites: names none that max_version TLS12 can use",
    ),
    "header of two lines": (
        'http_server_config: {headers: {Content-Security-Policy: "a\\r\\nSet-Cookie: x"}}',
        "headers.Content-Security-Policy: expected one line",
    ),
    "a burst of none": ("rate_limit: {interval: 1s}", "rate_limit: burst: expected 1 or more, got 0"),
    "an interval without a unit": ("rate_limit: {interval: '5', burst: 1}", "expected a duration such as 1s, got '5'"),
    "a negative interval": ("rate_limit: {interval: -1s, burst: 1}", "expected a duration such as 1s, got '-1s'"),
    "an interval without an end": (
        f"rate_limit: {{interval: {'9' * 400}, burst: 1}}",
        "expected a duration such as 1s, got one longer than 292 years",
    ),
    "a burst without an end": (f"rate_limit: {{interval: 1s, burst: {'9' * 400}}}", "expected less than 2^63"),
    "a path with NUL": ('tls_server_config: {cert_file: "a\\0", key_file: k}', "a text holds NUL or a surrogate"),
    "half a character": ('basic_auth_users: {"\\ud800": x}', "a text holds NUL or a surrogate"),
    "a hash cut short": (f"basic_auth_users: {{dave: {HASH[:40]}}}", "basic_auth_users.dave: expected a bcrypt hash"),
    "a password in the place of its hash": (
        "basic_auth_users: {me: hunter2}",
        "basic_auth_users.me: expected a bcrypt",
    ),
    "a number as a password": ("basic_auth_users: {me: 12345}", "expected a text (put it in quotes)"),
    "a user twice": (f"basic_auth_users: {{me: {HASH}, me: {HASH}}}", 'key "me" is given twice'),
    "no YAML": ("basic_auth_users: {me: hunter2: x}", "not valid YAML: expected ',' or '}', but got ':' (line 1"),
    "a list": ("- a", "expected keys and values, got a list"),
    "proposed, not in any release": ("auth_excluded_paths: [/metrics]", "unknown key `auth_excluded_paths`"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_refused_with_its_place_and_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _read(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "web.yml") in str(caught.value)
    assert not {"hunter2", "12345", HASH[:40]} & set(str(caught.value).split())


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't read the web config: No such file"):
        webconfig.read(tmp_path / "web.yml")


def test_secrets_do_not_show(tmp_path: Path) -> None:
    found = _read(tmp_path, f"tls_server_config: {{cert_file: c, key: hunter2}}\nbasic_auth_users: {{dave: {HASH}}}")
    assert "hunter2" not in repr(found)
    assert HASH not in repr(found)


def test_all_ciphers_of_the_toolkits_sample_are_known(tmp_path: Path) -> None:
    every = (*CIPHERS, *CIPHERS_13)
    assert len(every) == 17
    assert _tls(tmp_path, f"cipher_suites: [{', '.join(every)}]").cipher_suites == every


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1s", 1), ("1m30s", 90), ("0.5s", 0.5), ("250ms", 0.25), ("1h", 3600), ("0", 0), ("1000000000", 1), ("0s", 0)],
)
def test_an_interval_is_read_as_go_does(tmp_path: Path, written: str, seconds: float) -> None:
    found = _read(tmp_path, f"rate_limit: {{interval: {written}, burst: 20}}").rate_limit
    assert float(found.interval) == pytest.approx(seconds)
    assert found.burst == 20


NOTES = {
    "http_server_config: {http2: true}": "http2: this server speaks HTTP/1.1 only",
    f"tls_server_config: {{{FILES}, client_auth_type: RequestClientCert}}": "RequestClientCert lets everyone in",
    f"tls_server_config: {{{FILES}, client_auth_type: VerifyClientCertIfGiven}}": "any CA that this system trusts",
    f"tls_server_config: {{{FILES}, min_version: TLS10}}": "min_version TLS10: TLS before 1.2 is broken",
    f"tls_server_config: {{{FILES}, curve_preferences: [X25519, CurveP256]}}": "X25519 is the only one used",
}


@pytest.mark.parametrize(("text", "note"), NOTES.items())
def test_what_does_less_than_it_seems_is_noted(tmp_path: Path, text: str, note: str) -> None:
    (found,) = _read(tmp_path, text).notes()
    assert note in found


def test_a_file_that_does_what_it_says_has_no_notes(tmp_path: Path) -> None:
    text = f"tls_server_config: {{{FILES}, client_ca_file: c, client_auth_type: RequireAndVerifyClientCert}}"
    assert _read(tmp_path, text).notes() == []


def test_the_page_about_the_file_names_everything_that_may_stand_in_it() -> None:
    page = (Path(__file__).parents[2] / "docs" / "web-config.md").read_text()
    keys = [key for section in (WebConfig, TlsServer, HttpServer, RateLimit) for key in section.__struct_fields__]
    words = (*keys, *AUTH_TYPES, *UNVERIFIED, *VERSIONS, *CURVES, *HEADERS)
    assert [word for word in words if f"`{word}`" not in page] == []


def test_the_pages_example_is_a_file_that_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "web-config.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    assert _read(tmp_path, example).notes() == []
