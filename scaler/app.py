"""The API server as a WSGI app: authentication, authorisation, then discovery or values; every failure a Status object.

Paths are read from the raw request line (`REQUEST_URI`), not from `PATH_INFO`, which is already decoded; that is why
there is no web framework between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.denials import Denials
from cloudpulse.serving import HEADERS, Environ, StartResponse
from cloudpulse.traced import USER
from scaler import audit
from scaler.access import Access, Action, User
from scaler.discovery import JSON, Discovery, Document
from scaler.meters import Meters
from scaler.protocol import (
    EXTERNAL,
    MetricRequest,
    action,
    custom_list,
    external_list,
    metric_request,
    split_path,
    status,
)
from scaler.provider import Answer, Provider
from scaler.refusal import Denied, Refused, ambiguous, not_allowed, not_found, unexpected

ALIVE = ("/livez", "/healthz")
READY = "/readyz"
"""The probes, answered to everyone. Readiness asks for no more than what discovery needs: were it to depend on
Prometheus, Kubernetes would take discovery away with it. `/-/ready` tells of everything."""

log = logs.get(__name__)


@dataclass(frozen=True)
class Response:
    """What goes over the wire; `headers` beside Content-Type and Content-Length."""

    code: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = field(default=())


class Api:
    """WSGI app for `/apis`, `/openapi` and the probes."""

    def __init__(
        self,
        provider: Provider,
        discovery: Discovery,
        access: Access,
        meters: Meters,
        clock: Clock,
        unready: Callable[[], str] = lambda: "",
    ) -> None:
        """`unready` says why not even discovery can be answered, "" while it can."""
        self._provider = provider
        self._discovery = discovery
        self._access = access
        self._unready = unready
        self._meters = meters
        self._clock = clock
        self._denials = Denials(time.monotonic)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            response = self._respond(environ)
        except Refused as refused:
            if isinstance(refused, Denied):
                self._meters.denied(refused.cause)
            response = _refusal(refused)
        except Exception:  # the last resort: whoever asks reads a Status, not a page of the server
            log.exception("request failed", target=environ["REQUEST_URI"][:300])
            response = _refusal(unexpected())
        headers = [
            ("Content-Type", response.content_type),
            ("Cache-Control", "no-cache, private"),
            *response.headers,
        ]
        if response.code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED):
            # The next on this connection may be someone else, or the same with a certificate that is known by then.
            headers.append(("Connection", "close"))
        if response.code != HTTPStatus.NOT_MODIFIED:
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{response.code} {HTTPStatus(response.code).phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]

    def _respond(self, environ: Environ) -> Response:
        path, _, query = environ["REQUEST_URI"].partition("?")
        if path in ALIVE or path == READY:
            return _probed(self._unready() if path == READY else "")
        user, method = self._identified(environ), environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            raise not_allowed(method)
        origin = environ.get("REMOTE_ADDR", "")
        segments = split_path(path)
        request = metric_request(segments, query)
        if request is not None:
            self._authorize(user, origin, action(request))
            return self._values(user, origin, request)
        self._authorize(user, origin, Action(method.lower(), path="/" + "/".join(segments)))
        document = self._discovery.find(segments, environ.get("HTTP_ACCEPT", ""))
        if document is None:
            raise not_found("there is no such path: see /apis for what is")
        return _unless_known(document, environ.get("HTTP_IF_NONE_MATCH", ""))

    def _identified(self, environ: Environ) -> User:
        try:
            if merging := next((name for name, _ in environ[HEADERS] if "_" in name), None):
                raise ambiguous(f'the header name "{merging}" holds "_", which WSGI takes for "-": rename it')
            user = self._access.identify(environ)
            environ[USER] = user.name
            return user
        except Denied as denied:
            asked = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']}"
            audit.denied(self._denials, denied, asked, origin=environ.get("REMOTE_ADDR", ""))
            raise

    def _authorize(self, user: User, origin: str, action: Action) -> None:
        try:
            self._access.authorize(user, action)
        except Denied as denied:
            audit.denied(self._denials, denied, str(action), user.name, origin)
            raise

    def _values(self, user: User, origin: str, request: MetricRequest) -> Response:
        started = time.perf_counter()
        api = "external" if request.group == EXTERNAL else "custom"
        try:
            answer = self._answer(request)
            listed = external_list(answer) if request.group == EXTERNAL else custom_list(answer, request)
            body = msgspec.json.encode(listed)
        except Refused as refused:
            metric = self._provider.name_of(request.metric, request.kind)
            self._meters.refused(api, metric, refused.code, time.perf_counter() - started)
            log.info("refused", user=user.name, api=api, metric=request.metric, code=refused.code, why=refused.message)
            raise
        self._meters.answered(api, answer, time.perf_counter() - started)
        about = f"{request.kind}/{request.name}" if request.kind else None
        audit.answered(
            user.name,
            origin,
            api,
            answer,
            self._clock(),
            groups=list(user.groups),
            namespace=request.namespace,
            object=about,
        )
        return Response(200, JSON, body)

    def _answer(self, request: MetricRequest) -> Answer:
        if request.group == EXTERNAL:
            assert request.namespace is not None
            return self._provider.external(request.metric, request.namespace, request.series)
        return self._provider.custom(
            request.metric,
            request.kind,
            request.namespace,
            request.name,
            objects=request.objects,
            series=request.series,
        )


def _probed(unready: str) -> Response:
    body = f"not ready: {unready}" if unready else "ok"
    return Response(503 if unready else 200, "text/plain; charset=utf-8", body.encode())


def _refusal(refused: Refused) -> Response:
    return Response(refused.code, JSON, msgspec.json.encode(status(refused)))


def _unless_known(document: Document, if_none_match: str) -> Response:
    """The document, or 304 for a caller that has it (RFC 9110, 13.1.2: a weak comparison)."""
    headers = (("ETag", document.etag), ("Vary", "Accept"))
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    if document.etag in known or "*" in known:
        return Response(HTTPStatus.NOT_MODIFIED, document.content_type, b"", headers)
    return Response(200, document.content_type, document.body, headers)
