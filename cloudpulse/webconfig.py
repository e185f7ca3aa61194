"""The web config file in exporter-toolkit's format: what may stand in it.

Source: https://github.com/prometheus/exporter-toolkit, docs/web-configuration.md and web/tls_config.go; what differs
from it, and why, is in docs/web-config.md. `webtls` makes a server context of it, `webaccess` applies the rest.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Self

import msgspec

from cloudpulse.config import ConfigFile, Secret, Section, Written, file_text, from_yaml

AUTH_TYPES = ("NoClientCert", "RequestClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
UNVERIFIED = ("RequireAnyClientCert", "RequireClientCert")
VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")
CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
"""Go's name -> OpenSSL's."""
CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
}
"""Suites up to TLS 1.2 that the toolkit takes, Go's name -> OpenSSL's, in Go's order of preference."""
CIPHERS_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""May be named, and change nothing: TLS 1.3 always has all three, in Go, too."""
HEADERS: dict[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
"""What `headers` may name -> the only values that it may have, where it is not free."""

_HASH = re.compile(r"\$2[abxy]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_GO_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Interval(Written, float):
    """Seconds, in Go's words: `1s`, `1m30s`, `0.5s`; a bare number counts nanoseconds."""

    @classmethod
    def read(cls, value: object) -> Self:
        """See `Written`."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            value = f"{value}ns"
        if value == "0":
            return cls(0)
        if not isinstance(value, str) or not re.fullmatch(f"(?:{_GO_PART.pattern})+", value):
            raise ValueError(f"expected a duration such as 1s, got {value!r}")
        seconds = cls(sum(float(count) * _GO_UNITS[unit] for count, unit in _GO_PART.findall(value)))
        if seconds * 1e9 >= 2**63:
            raise ValueError("expected a duration such as 1s, got one longer than 292 years")
        return seconds


class TlsServer(Section, frozen=True):
    """`tls_server_config`: certificate, key and what is asked of clients. A file goes before its inline form."""

    cert: str | None = None
    key: Secret | None = None
    client_ca: str | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    client_auth_type: str | None = None
    client_allowed_sans: frozenset[str] | None = None
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[str, ...] = ()

    @property
    def verifies(self) -> bool:
        """Whether clients are asked for certificates, and these are verified."""
        return self.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")

    def __post_init__(self) -> None:
        for name in ("cert", "key"):
            if not getattr(self, name) and not getattr(self, f"{name}_file"):
                raise ValueError(f"missing one of {name} or {name}_file")
        self._check_clients()
        for key, version in (("min_version", self.min_version), ("max_version", self.max_version)):
            _known(key, "TLS version", version, VERSIONS)
        if self.min_version > self.max_version:
            raise ValueError(f"min_version {self.min_version} is above max_version {self.max_version}")
        for suite in self.cipher_suites:
            _known("cipher_suites", "cipher", suite, (*CIPHERS, *CIPHERS_13))
        if self.cipher_suites and self.max_version < "TLS13" and not set(self.cipher_suites) & set(CIPHERS):
            raise ValueError(f"cipher_suites: names none that max_version {self.max_version} can use")
        for curve in self.curve_preferences:
            _known("curve_preferences", "curve", curve, CURVES)

    def _check_clients(self) -> None:
        if self.client_auth_type in UNVERIFIED:
            raise ValueError(
                f"client_auth_type {self.client_auth_type} takes any certificate, even one that the client made for "
                "itself; Python's TLS asks for none that it does not verify: use RequireAndVerifyClientCert with "
                "client_ca_file, or NoClientCert"
            )
        if self.client_auth_type is not None:
            _known("client_auth_type", "policy", self.client_auth_type, AUTH_TYPES)
        if (self.client_ca_file or self.client_ca) and self.client_auth_type in (None, "NoClientCert"):
            raise ValueError(
                "client CAs without a policy: client_auth_type says what they are for, such as "
                "RequireAndVerifyClientCert"
            )
        if self.client_allowed_sans is not None and self.client_auth_type != "RequireAndVerifyClientCert":
            raise ValueError(
                "client_allowed_sans needs client_auth_type RequireAndVerifyClientCert: under any other a client may "
                "come without a certificate that was verified"
            )


class HttpServer(Section, frozen=True):
    """`http_server_config`."""

    http2: bool | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            _known("headers", "header", name, HEADERS)
            if HEADERS[name] and value and value not in HEADERS[name]:
                raise ValueError(f'headers.{name}: expected {" or ".join(HEADERS[name])}, got "{value}"')
            if _CONTROL.search(value):
                raise ValueError(f"headers.{name}: expected one line")


class RateLimit(Section, frozen=True):
    """`rate_limit`: a token bucket that holds `burst` requests and gets one more each `interval`."""

    interval: Interval = Interval(0)
    burst: int = 0

    def __post_init__(self) -> None:
        if self.interval and self.burst < 1:
            raise ValueError(f"burst: expected 1 or more, got {self.burst}: it would refuse every request")
        if self.burst >= 2**63:
            raise ValueError("burst: expected less than 2^63, as much as never")


class WebConfig(Section, frozen=True):
    """The whole file."""

    tls_server_config: TlsServer | None = None
    http_server_config: HttpServer = HttpServer()
    basic_auth_users: dict[str, Secret] | None = None
    rate_limit: RateLimit = RateLimit()

    def __post_init__(self) -> None:
        for user, hashed in (self.basic_auth_users or {}).items():
            if not _HASH.fullmatch(hashed.reveal()):
                raise ValueError(f"basic_auth_users.{user}: expected a bcrypt hash, made for example by htpasswd -nB")

    def notes(self) -> list[str]:
        """What is taken and does not do, or protect, as much as it may seem."""
        notes = []
        if self.http_server_config.http2:
            notes.append("http2: this server speaks HTTP/1.1 only")
        tls = self.tls_server_config
        if tls is None:
            return notes
        if tls.client_auth_type == "RequestClientCert":
            notes.append("client_auth_type RequestClientCert lets everyone in: no certificate is asked for")
        if tls.verifies and not (tls.client_ca_file or tls.client_ca):
            notes.append("no client_ca_file: a client certificate of any CA that this system trusts is taken")
        if tls.min_version < "TLS12":
            notes.append(f"min_version {tls.min_version}: TLS before 1.2 is broken, and OpenSSL's security level is 0")
        if len(tls.curve_preferences) > 1:
            notes.append(f"curve_preferences: Python can set one, {tls.curve_preferences[0]} is the only one used")
        return notes


def read(path: Path) -> WebConfig:
    """Read `path`; files in it are relative to it. Raises ConfigError that names the key."""
    tree = from_yaml(file_text(path, "the web config"), path)
    config = ConfigFile(path, {"web": _given(tree)}).section("web", WebConfig)
    if tls := config.tls_server_config:
        files = {key: getattr(tls, key) for key in ("cert_file", "key_file", "client_ca_file")}
        placed = {key: path.parent / file for key, file in files.items() if file is not None}
        config = msgspec.structs.replace(config, tls_server_config=msgspec.structs.replace(tls, **placed))
    return config


def _given(tree: Any) -> Any:
    """The file without what it leaves empty, as good as absent to the toolkit. `basic_auth_users: {}` stays."""
    if not isinstance(tree, dict):
        return tree
    given = {key: value for key, value in tree.items() if value is not None}
    for name in ("tls_server_config", "http_server_config", "rate_limit"):
        if isinstance(section := given.pop(name, None), dict):
            section = {key: value for key, value in section.items() if value is not None and value != ""}
        if section is not None and section != {}:
            given[name] = section
    return given


def _known(key: str, kind: str, name: str, names: Any) -> None:
    if name not in names:
        raise ValueError(f'{key}: unknown {kind} "{name}", expected one of {", ".join(names)}')
