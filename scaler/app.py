"""The API server as a WSGI app: authentication, then discovery or values, every failure a Status object.

Paths are read from the raw request line (`REQUEST_URI`), not from `PATH_INFO`, which is already decoded; that is why
there is no web framework between.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec

from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.serving import Environ, StartResponse
from scaler.authentication import StaticAuthentication
from scaler.discovery import JSON, Discovery, Document
from scaler.meters import Meters
from scaler.protocol import EXTERNAL, MetricRequest, custom_list, external_list, metric_request, split_path, status
from scaler.provider import Answer, Provider
from scaler.refusal import Refused, not_allowed, not_found

PROBES = ("/livez", "/readyz", "/healthz")
"""Answered to everyone, and true while the process serves: readiness must not depend on Prometheus, or Kubernetes
takes discovery away with it."""

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
        authentication: StaticAuthentication,
        meters: Meters,
        clock: Clock,
    ) -> None:
        self._provider = provider
        self._discovery = discovery
        self._authentication = authentication
        self._meters = meters
        self._clock = clock

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            response = self._respond(environ)
        except Refused as refused:
            response = _refusal(refused)
        headers = [
            ("Content-Type", response.content_type),
            ("Cache-Control", "no-cache, private"),
            ("X-Content-Type-Options", "nosniff"),
            *response.headers,
        ]
        if response.code != HTTPStatus.NOT_MODIFIED:
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{response.code} {HTTPStatus(response.code).phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [response.body]

    def _respond(self, environ: Environ) -> Response:
        path, _, query = environ["REQUEST_URI"].partition("?")
        if path in PROBES:
            return Response(200, "text/plain; charset=utf-8", b"ok")
        user = self._identified(environ)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            raise not_allowed(environ["REQUEST_METHOD"])
        segments = split_path(path)
        document = self._discovery.find(segments, environ.get("HTTP_ACCEPT", ""))
        if document is not None:
            return _unless_known(document, environ.get("HTTP_IF_NONE_MATCH", ""))
        request = metric_request(segments, query)
        if request is None:
            raise not_found("there is no such path: see /apis for what is")
        return self._values(user, request)

    def _identified(self, environ: Environ) -> str:
        try:
            return self._authentication.identify(environ)
        except Refused:
            self._meters.denied("wrong_credentials" if "HTTP_AUTHORIZATION" in environ else "no_credentials")
            raise

    def _values(self, user: str, request: MetricRequest) -> Response:
        started = time.perf_counter()
        api = "external" if request.group == EXTERNAL else "custom"
        try:
            answer = self._answer(request)
            listed = external_list(answer) if request.group == EXTERNAL else custom_list(answer, request)
            body = msgspec.json.encode(listed)
        except Refused as refused:
            metric = self._provider.name_of(request.metric, request.kind)
            self._meters.refused(api, metric, refused.code, time.perf_counter() - started)
            log.info("refused", user=user, api=api, metric=request.metric, code=refused.code, why=refused.message)
            raise
        self._meters.answered(api, answer, time.perf_counter() - started)
        self._audit(user, api, request, answer)
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

    def _audit(self, user: str, api: str, request: MetricRequest, answer: Answer) -> None:
        log.info(
            "answered",
            user=user,
            api=api,
            metric=answer.rule.name,
            namespace=request.namespace,
            object=f"{request.kind}/{request.name}" if request.kind else None,
            value=answer.total,
            items=len(answer.items),
            age_seconds=round(self._clock() - answer.oldest, 3),
            source=answer.source,
        )


def _refusal(refused: Refused) -> Response:
    return Response(refused.code, JSON, msgspec.json.encode(status(refused)))


def _unless_known(document: Document, if_none_match: str) -> Response:
    """The document, or 304 for a caller that has it (RFC 9110, 13.1.2: a weak comparison)."""
    headers = (("ETag", document.etag), ("Vary", "Accept"))
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    if document.etag in known or "*" in known:
        return Response(HTTPStatus.NOT_MODIFIED, document.content_type, b"", headers)
    return Response(200, document.content_type, document.body, headers)
