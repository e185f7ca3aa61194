"""Whom a cluster trusts to say who asks: the ConfigMap `kube-system/extension-apiserver-authentication`.

Source: kube-apiserver publishes it for every aggregated API server;
https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/ and k8s.io/apiserver
`pkg/authentication/request/{headerrequest,x509}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

from cryptography import x509
from cryptography.x509.oid import NameOID

from cloudpulse.clock import Clock
from scaler.access import User
from scaler.cluster.chain import Chain

Headers = Sequence[tuple[str, str]]
"""Every header as (name, value as latin-1), in the order sent."""


class Trust:
    """One version of the ConfigMap. Immutable; for several threads."""

    def __init__(self, data: Mapping[str, str], clock: Clock) -> None:
        """Raises ValueError that names the key which can't be read."""
        self._proxies = _chain(data, "requestheader-client-ca-file", clock)
        self._clients = _chain(data, "client-ca-file", clock)
        self._allowed_names = frozenset(_names(data, "requestheader-allowed-names"))
        self._user = _lower(data, "requestheader-username-headers")
        self._uid = _lower(data, "requestheader-uid-headers")
        self._groups = _lower(data, "requestheader-group-headers")
        self._extra = _lower(data, "requestheader-extra-headers-prefix")

    @property
    def pem(self) -> str:
        """All CAs, for TLS to let their certificates in."""
        return self._proxies.pem + self._clients.pem

    def user(self, certificate: bytes, headers: Headers) -> User | None:
        """Who asks: the user that a front proxy names, else the certificate's own; None if it can't be believed."""
        proxy = self._proxies.verified(certificate)
        if proxy is not None and (not self._allowed_names or _common_name(proxy) in self._allowed_names):
            forwarded = self._forwarded(headers)
            if forwarded is not None:
                return forwarded
        client = self._clients.verified(certificate)
        if client is None or not (name := _common_name(client)):
            return None
        groups = client.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return User(name, tuple(str(group.value) for group in groups))

    def _forwarded(self, headers: Headers) -> User | None:
        name = next(iter(_values(headers, self._user)), "")
        if not name:
            return None
        extra: dict[str, list[str]] = {}
        for header, value in headers:
            for prefix in self._extra:
                if header.lower().startswith(prefix):
                    extra.setdefault(unquote(header.lower()[len(prefix) :]), []).append(_text(value))
        return User(
            name,
            tuple(_values(headers, self._groups)),
            next(iter(_values(headers, self._uid)), ""),
            tuple((key, tuple(values)) for key, values in sorted(extra.items())),
        )


def _values(headers: Headers, names: Iterable[str]) -> list[str]:
    return [_text(value) for wanted in names for name, value in headers if name.lower() == wanted and value]


def _text(value: str) -> str:
    """A header's value as Kubernetes reads it: Go's strings are the bytes, which JSON takes as UTF-8."""
    return value.encode("latin-1").decode("utf-8", "replace")


def _common_name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _chain(data: Mapping[str, str], key: str, clock: Clock) -> Chain:
    try:
        return Chain(data.get(key, ""), clock)
    except ValueError as error:
        raise ValueError(f"{key}: not PEM certificates: {error}") from error


def _names(data: Mapping[str, str], key: str) -> list[str]:
    try:
        found = json.loads(data.get(key) or "[]")
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{key}: not a JSON list of texts")
    return found


def _lower(data: Mapping[str, str], key: str) -> list[str]:
    return [name.lower() for name in _names(data, key)]
