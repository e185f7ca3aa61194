"""Who asks, and what for: the words in which a request is authenticated and authorised.

Two implementations: `authentication.StaticAccess` (certificates and tokens of the config) and
`cluster.access.DelegatedAccess` (the cluster's own).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from cloudpulse.serving import Environ


@dataclass(frozen=True)
class User:
    """A caller as Kubernetes describes one; `extra` is (key, values), sorted."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Action:
    """What a request does: `verb` on a path (discovery) or on a resource (values), as kube-apiserver sees it."""

    verb: str
    path: str = ""
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""

    @property
    def attributes(self) -> dict[str, dict[str, str]]:
        """The part of a SubjectAccessReview's spec that names the action."""
        if self.path:
            return {"nonResourceAttributes": {"path": self.path, "verb": self.verb}}
        named: dict[str, Any] = {
            "namespace": self.namespace,
            "verb": self.verb,
            "group": self.group,
            "version": self.version,
            "resource": self.resource,
            "subresource": self.subresource,
            "name": self.name,
        }
        return {"resourceAttributes": {key: value for key, value in named.items() if value}}

    def __str__(self) -> str:
        if self.path:
            return f'{self.verb} path "{self.path}"'
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        named = f' "{self.name}"' if self.name else ""
        place = f" in namespace {self.namespace}" if self.namespace else ""
        return f'{self.verb} {what}{named} in API group "{self.group}"{place}'


def bearer(authorization: str) -> str:
    """The token of an Authorization header, "" if it holds none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Access(Protocol):
    """Authenticates and authorises. For several threads; raises `refusal.Denied`."""

    def identify(self, environ: Environ) -> User:
        """Who asks."""

    def authorize(self, user: User, action: Action) -> None:
        """Return if `user` may do `action`."""
