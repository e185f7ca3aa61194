"""A collector: takes OTLP over HTTP and keeps the spans, decoded by OpenTelemetry's own messages."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cloudpulse.testing import serving


class Got(NamedTuple):
    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str
    attributes: dict[str, Any]
    failed: str | None  # why


class Collector:
    """`spans` are what came, `headers` of each request; `status` is what it answers."""

    def __init__(self) -> None:
        self.spans: list[Got] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.url = ""
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        if environ.get("HTTP_CONTENT_ENCODING") == "gzip":
            body = gzip.decompress(body)
        assert (environ["PATH_INFO"], environ["CONTENT_TYPE"]) == ("/v1/traces", "application/x-protobuf")
        with self._lock:
            self.headers.append({name: value for name, value in environ.items() if name.startswith("HTTP_")})
            if self.status == 200:
                self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        start_response(f"{self.status} Told", [("Content-Length", "0")])
        return []

    def named(self, name: str) -> list[Got]:
        return [span for span in list(self.spans) if span.name == name]


def _spans(request: Any) -> Iterator[Got]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for one in scope.spans:
                ids = (one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex())
                failed = one.status.message if one.status.code == 2 else None
                yield Got(service, one.name, one.kind, *ids, _values(one.attributes), failed)


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    with serving(collector) as collector.url:
        yield collector
