"""Which client certificates a CA bundle vouches for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloudpulse.testing import FakeClock
from scaler.cluster.chain import Chain
from scaler.cluster.trust import Trust

NOW = datetime.fromtimestamp(FakeClock().now, UTC)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


class Issued:
    """A certificate with its key; `by` None signs itself."""

    def __init__(
        self,
        name: str,
        by: Issued | None = None,
        *,
        ca: bool = False,
        usage: x509.ObjectIdentifier | None = CLIENT,
        days: tuple[int, int] = (-1, 1),
        key: Any = None,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(by.name if by else self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + timedelta(days=days[0]))
            .not_valid_after(NOW + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if usage is not None and not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        self.certificate = builder.sign(by.key if by else self.key, hashes.SHA256())
        self.der = self.certificate.public_bytes(Encoding.DER)
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()


CA = Issued("ca", ca=True)


def _verified(leaf: Issued, *authorities: Issued) -> bool:
    return Chain("".join(one.pem for one in authorities or (CA,)), FakeClock()).verified(leaf.der) is not None


def test_a_certificate_that_the_ca_signed_is_verified() -> None:
    assert _verified(Issued("front-proxy-client", CA))
    assert _verified(Issued("any usage", CA, usage=None))
    assert _verified(Issued("rsa", CA, key=rsa.generate_private_key(65537, 2048)))
    assert _verified(Issued("of the second", CA), Issued("first", ca=True), CA)


@pytest.mark.parametrize(
    "leaf",
    [
        Issued("of another CA of that name", Issued("ca", ca=True)),
        Issued("self-signed"),
        Issued("expired", CA, days=(-2, -1)),
        Issued("not yet", CA, days=(1, 2)),
        Issued("a server's", CA, usage=SERVER),
        Issued("of a leaf", Issued("leaf", CA)),
        Issued("of an intermediate", Issued("intermediate", CA, ca=True)),
    ],
    ids=lambda leaf: leaf.certificate.subject.rfc4514_string(),
)
def test_any_other_certificate_is_not(leaf: Issued) -> None:
    assert not _verified(leaf)


def test_a_ca_that_is_none_any_more_vouches_for_nothing() -> None:
    expired = Issued("expired CA", ca=True, days=(-3, -1))
    assert not _verified(Issued("leaf", expired, days=(-2, 1)), expired)
    leaf = Issued("leaf", CA)
    assert not _verified(Issued("leaf of a leaf", leaf), leaf)
    assert not Chain("", FakeClock()).verified(leaf.der)
    assert not Chain(CA.pem, FakeClock()).verified(b"no certificate")


def test_a_verified_certificate_is_one_only_until_it_expires() -> None:
    clock = FakeClock()
    chain, leaf = Chain(CA.pem, clock), Issued("leaf", CA)
    assert chain.verified(leaf.der) is chain.verified(leaf.der)
    clock.advance(86400 - 1)
    assert chain.verified(leaf.der)
    clock.advance(2)
    assert chain.verified(leaf.der) is None


def test_what_is_remembered_stays_small() -> None:
    chain = Chain(CA.pem, FakeClock())
    shared = ec.generate_private_key(ec.SECP256R1())
    for i in range(300):
        assert chain.verified(Issued(f"c{i}", CA, key=shared).der)
    assert len(chain._verified) <= 256


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("requestheader-client-ca-file", "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"),
        ("client-ca-file", "text"),
        ("requestheader-allowed-names", "front-proxy-client"),
        ("requestheader-username-headers", '"X-Remote-User"'),
        ("requestheader-group-headers", "[1]"),
    ],
)
def test_a_configmap_that_can_not_be_read_says_which_key(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=key):
        Trust({key: value}, FakeClock())


def test_an_empty_configmap_trusts_nobody() -> None:
    assert Trust({}, FakeClock()).user(Issued("x", CA).der, [("X-Remote-User", "root")]) is None
