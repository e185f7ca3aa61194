"""Who holds a client certificate that TLS has verified."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Holder:
    """`name` is the subject's common name, "" without one; `names` are it and the alternative DNS names and URIs."""

    name: str
    names: tuple[str, ...]
    ends: datetime


@functools.lru_cache(maxsize=256)
def holder(certificate: bytes) -> Holder:
    """Of DER bytes. TLS looks at the end once, and a connection may outlive it: compare it with now."""
    read = x509.load_der_x509_certificate(certificate)
    common = [str(found.value) for found in read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)][:1]
    try:
        alternative = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):  # ValueError: OpenSSL takes some that this package doesn't
        others: list[str] = []
    else:
        others = [
            *alternative.get_values_for_type(x509.DNSName),
            *alternative.get_values_for_type(x509.UniformResourceIdentifier),
        ]
    return Holder("".join(common), tuple(dict.fromkeys([*common, *others])), read.not_valid_after_utc)
