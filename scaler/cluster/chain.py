"""Client certificates of one CA bundle, verified apart from TLS, which can't say by which CA it let one in.

The checks are those of kube-apiserver (Go's x509 with the key usage ClientAuth): signature, validity of leaf and CA, a
CA that may sign, a leaf that may authenticate clients. Names are not checked, since front-proxy certificates have none
but a CN. Only certificates that a CA of the bundle signed itself are verified: ssl hands no intermediates on.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from cloudpulse.clock import Clock

MOST_REMEMBERED = 256
REMEMBERED_SECONDS = 10.0


class Chain:
    """The CAs of a PEM bundle, which may be empty: then nothing verifies. For several threads."""

    def __init__(self, bundle: str, clock: Clock) -> None:
        """Raises ValueError for a bundle that can't be read."""
        authorities = x509.load_pem_x509_certificates(bundle.encode()) if bundle.strip() else []
        self.pem = b"".join(authority.public_bytes(Encoding.PEM) for authority in authorities).decode()
        self._store = Store(authorities) if authorities else None
        self._clock = clock
        self._verified: dict[bytes, tuple[float, x509.Certificate]] = {}

    def verified(self, certificate: bytes) -> x509.Certificate | None:
        """The certificate (DER) if a CA of the bundle vouches for it now, else None."""
        now = self._clock()
        until, known = self._verified.get(certificate, (0.0, None))
        if known is not None and now < until:
            return known
        try:
            leaf = x509.load_der_x509_certificate(certificate)
            chain = self._verify(leaf, now)
        except (ValueError, VerificationError):
            return None
        if len(self._verified) >= MOST_REMEMBERED:
            self._verified.clear()
        until = min(now + REMEMBERED_SECONDS, *(one.not_valid_after_utc.timestamp() for one in chain))
        self._verified[certificate] = until, leaf
        return leaf

    def _verify(self, leaf: x509.Certificate, now: float) -> list[x509.Certificate]:
        if self._store is None:
            raise VerificationError("there is no CA")
        verifier = (
            PolicyBuilder()
            .store(self._store)
            .time(datetime.fromtimestamp(now, UTC))
            .extension_policies(ca_policy=_AUTHORITY, ee_policy=_CLIENT)
            .build_client_verifier()
        )
        return verifier.verify(leaf, []).chain


def _is_authority(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("not a CA")


def _may_sign(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("a CA that may not sign certificates")


def _may_authenticate(_: Policy, __: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    if usage is not None and not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(
        usage
    ):
        raise ValueError("not a client's certificate")


_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
)
_CLIENT = ExtensionPolicy.permit_all().may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _may_authenticate)
