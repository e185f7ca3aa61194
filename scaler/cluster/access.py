"""Who asks and what they may, as the cluster says: the front proxy, client certificates, TokenReview, and for every
read a SubjectAccessReview. What can't be checked is refused.

Source: k8s.io/apiserver `pkg/authentication/authenticatorfactory/delegating.go` and `pkg/authorization/...`; the order
(front proxy, certificate, token) and the 10 s that answers are kept are theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from cloudpulse.clock import Clock
from cloudpulse.serving import CLIENT_CERTIFICATE, HEADERS, Environ
from scaler.access import Action, User, bearer
from scaler.cluster.api import ClusterApi, ClusterRefused, ClusterUnavailable
from scaler.cluster.remembered import Remembered, Turns
from scaler.cluster.trust import Trust
from scaler.refusal import Denied, forbidden, unauthorized, uncheckable

KEPT_SECONDS = 10.0
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
AGGREGATORS = frozenset({"system:kube-aggregator", "system:aggregator"})
"""kube-apiserver's own users, who read discovery and OpenAPI without a group: they never wait for a review, since a
discovery that fails makes deleting any namespace hang."""


class DelegatedAccess:
    """Asks `api`; `trust` is the cluster's last word on certificates, None before the first.

    Whose token it is is asked in the turns of `unknown` callers, what they may in those of `known` ones.
    """

    def __init__(
        self, api: ClusterApi, trust: Callable[[], Trust | None], ticks: Clock, unknown: Turns, known: Turns
    ) -> None:
        self._api = api
        self._trust = trust
        self._users: Remembered[bytes, User | None] = Remembered(KEPT_SECONDS, 1024, ticks, unknown)
        self._verdicts: Remembered[tuple[User, Action], bool] = Remembered(KEPT_SECONDS, 4096, ticks, known)

    def identify(self, environ: Environ) -> User:
        """Who asks; raises Denied (401, or 500 while a token can't be reviewed)."""
        certificate, trust = environ.get(CLIENT_CERTIFICATE), self._trust()
        if certificate is not None and trust is not None:
            user = trust.user(certificate, environ[HEADERS])
            if user is not None:
                return _authenticated(user)
        if "HTTP_AUTHORIZATION" in environ:
            return self._owner(environ["HTTP_AUTHORIZATION"])
        if certificate is not None:
            raise unauthorized("the client certificate is not one that this cluster trusts", "wrong_credentials")
        raise unauthorized(
            "who asks is not known: a certificate of the front proxy or the cluster, or a bearer token is needed",
            "no_credentials",
        )

    def authorize(self, user: User, action: Action) -> None:
        """Return if the cluster lets `user` do `action`; raises Denied (403, or 500 while that can't be asked)."""
        if MASTERS in user.groups or (action.path and user.name in AGGREGATORS):
            return
        try:
            allowed = self._verdicts.get((user, action), lambda: self._may(user, action))
        except (ClusterUnavailable, ClusterRefused) as error:
            raise _uncheckable("what the caller may read", "authorization_unavailable", error) from error
        if not allowed:
            raise forbidden(f'User "{user.name}" may not {action}: see the RBAC of the cluster')

    def _owner(self, authorization: str) -> User:
        token = bearer(authorization)
        if not token:
            raise unauthorized("the Authorization header holds no bearer token", "wrong_credentials")
        digest = hashlib.sha256(token.encode("latin-1")).digest()
        try:
            user = self._users.get(digest, lambda: self._reviewed(token))
        except (ClusterUnavailable, ClusterRefused) as error:
            raise _uncheckable("the bearer token", "authentication_unavailable", error) from error
        if user is None:
            raise unauthorized("the bearer token is not one of this cluster", "wrong_credentials")
        return _authenticated(user)

    def _reviewed(self, token: str) -> User | None:
        status = self._status("authentication.k8s.io", "TokenReview", {"token": token})
        user = status.get("user") or {}
        if status.get("authenticated") is not True or status.get("error") or not user.get("username"):
            return None
        extra = sorted((user.get("extra") or {}).items())
        return User(
            user["username"],
            tuple(user.get("groups") or ()),
            user.get("uid") or "",
            tuple((key, tuple(values)) for key, values in extra),
        )

    def _may(self, user: User, action: Action) -> bool:
        spec = {
            "user": user.name,
            "groups": list(user.groups),
            "uid": user.uid,
            "extra": {key: list(values) for key, values in user.extra},
            **action.attributes,
        }
        status = self._status("authorization.k8s.io", "SubjectAccessReview", spec)
        return status.get("allowed") is True and status.get("denied") is not True

    def _status(self, group: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        review = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        answer = self._api.create(f"/apis/{group}/v1/{kind.lower()}s", review)
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict):
            raise ClusterUnavailable(f"the answer to a {kind} holds no status")
        return status


def _authenticated(user: User) -> User:
    """`user` with the group of all who are known, which a front proxy doesn't always send."""
    if user.name == "system:anonymous" or {AUTHENTICATED, "system:unauthenticated"} & set(user.groups):
        return user
    return User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)


def _uncheckable(what: str, cause: str, error: ClusterUnavailable | ClusterRefused) -> Denied:
    if isinstance(error, ClusterRefused):
        why = f"the Kubernetes API answers {error.code}: bind ClusterRole system:auth-delegator to the scaler"
    else:
        why = error.reason
    return uncheckable(f"{what} can't be checked: {why}", cause)
