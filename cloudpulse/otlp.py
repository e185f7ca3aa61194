"""Spans recorded with OpenTelemetry and sent as OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/).

A collector that is away, slow or refuses costs spans, which are counted, and nothing else: work never waits for it, and
a stop at most STOP_SECONDS.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import requests
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from cloudpulse import __version__, logs, trace
from cloudpulse.errors import ConfigError
from cloudpulse.trace import Attributes, Trace
from cloudpulse.tracing import TracingSettings

MOST_WAITING = 4096
"""Spans that wait to be sent; some 8 MB. What comes when they are so many is lost."""
BATCH = 512
SEND_EVERY_SECONDS = 2.0
SEND_SECONDS = 5.0
"""How long one try to send a batch may take, its repetitions included."""
STOP_SECONDS = 1.5
"""How long the last spans are waited for when the process ends."""

_KINDS = {"internal": api.SpanKind.INTERNAL, "server": api.SpanKind.SERVER, "client": api.SpanKind.CLIENT}

_WANTED: ContextVar[str] = ContextVar("wanted_trace_id", default="")

log = logs.get(__name__)


class Recorder:
    """See trace.Recorder. For several threads; `close` sends what waits and records nothing more.

    Raises ConfigError for files of the settings that can't be used.
    """

    def __init__(self, service: str, settings: TracingSettings) -> None:
        # The SDK's own exit hook waits for up to 30 s.
        provider = TracerProvider(
            sampler=_sampler(settings),
            resource=_resource(service, settings),
            id_generator=_Ids(),
            shutdown_on_exit=False,
        )
        self._batches = _Batches(settings)
        provider.add_span_processor(self._batches)
        self._tracer = provider.get_tracer("cloudpulse", __version__)

    @property
    def lost(self) -> int:
        """Spans that didn't get to the collector."""
        return self._batches.lost

    @contextlib.contextmanager
    def span(self, name: str, kind: str, attributes: Attributes, parent: Trace | None) -> Iterator[trace.Span]:
        """See trace.Recorder."""
        token = _WANTED.set(parent.trace_id if parent is not None and parent.sampled is None else "")
        try:
            span = self._tracer.start_span(name, _context(parent), _KINDS[kind], dict(attributes))
        finally:
            _WANTED.reset(token)
        recorded = _Recorded(span)
        try:
            with trace.within(_place(span, parent)):
                yield recorded
        except BaseException as error:
            recorded.failed(type(error).__name__)  # its text is the log's, which is kept where it is logged
            raise
        finally:
            span.end()

    def past(self, name: str, attributes: Attributes, parent: Trace | None, began: float, why: str) -> None:
        """See trace.Recorder."""
        span = self._tracer.start_span(name, _context(parent), attributes=dict(attributes), start_time=int(began * 1e9))
        if why:
            _Recorded(span).failed(why)
        span.end()

    def close(self) -> None:
        """Send what waits, for at most STOP_SECONDS."""
        trace.record(None)
        self._batches.close(STOP_SECONDS)


class _Recorded:
    def __init__(self, span: api.Span) -> None:
        self._span = span

    def named(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, name: str, value: str | float) -> None:
        self._span.set_attribute(name, value)

    def failed(self, why: str) -> None:
        self._span.set_status(api.StatusCode.ERROR, why)


class _Ids(RandomIdGenerator):
    """A trace that has an id before its first span, since it was asked for by `X-Request-Id`, keeps it."""

    def generate_trace_id(self) -> int:
        wanted = _WANTED.get()
        return int(wanted, 16) if wanted else super().generate_trace_id()


class _Batches(SpanProcessor):
    """Sends ended spans from a thread of its own. `lost` counts those that didn't get there."""

    def __init__(self, settings: TracingSettings) -> None:
        self.lost = 0
        self._session = _Session()
        self._exporter = _exporter(settings, self._session)
        self._waiting: queue.Queue[ReadableSpan] = queue.Queue(MOST_WAITING)
        self._sending = 0
        self._full = threading.Event()
        self._closing = False
        self._failing = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Never waits."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        try:
            self._waiting.put_nowait(span)
        except queue.Full:
            self._lose(1, "there are more than the collector takes")
        if self._waiting.qsize() >= BATCH:
            self._full.set()

    def close(self, seconds: float) -> None:
        """Send what waits; what isn't sent by then is lost."""
        self._closing = True
        self._full.set()
        self._thread.join(seconds)
        if left := self._sending + self._waiting.qsize():
            self._lose(left, "the process ends")

    def _run(self) -> None:
        while not self._closing:
            self._full.wait(SEND_EVERY_SECONDS)
            self._full.clear()
            while batch := self._batch():
                self._sending = len(batch)
                self._send(batch)
                self._sending = 0

    def _batch(self) -> list[ReadableSpan]:
        batch: list[ReadableSpan] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < BATCH:
                batch.append(self._waiting.get_nowait())
        return batch

    def _send(self, batch: list[ReadableSpan]) -> None:
        try:
            sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001  whatever a collector answers, work goes on
            sent = False
        if not sent:
            self._lose(len(batch), f"the collector {self._session.outcome}")
        elif self._failing:
            self._failing = False
            log.info("spans are taken again", lost=self.lost)

    def _lose(self, count: int, why: str) -> None:
        with self._lock:
            self.lost += count
            first, self._failing = not self._failing, True
        if first:
            hint = "check tracing.endpoint, or OTEL_EXPORTER_OTLP_*"
            log.warning("spans are lost, work goes on", count=count, why=why, hint=hint)


class _Session(requests.Session):
    """Keeps how the last request ended. No redirect is followed, nor one taken for a success as the exporter would."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False  # a proxy variable must not redirect spans
        self.outcome = "is not reached"

    def request(self, *args: Any, **how: Any) -> requests.Response:
        """See requests.Session."""
        try:
            answer = super().request(*args, **how)
        except requests.Timeout:
            self.outcome = "does not answer"
            raise
        except Exception as error:
            self.outcome = f"is not reached: {type(error).__name__}"
            raise
        self.outcome = f"answered {answer.status_code}"
        if 300 <= answer.status_code < 400:
            raise requests.TooManyRedirects
        return answer


def _exporter(settings: TracingSettings, session: _Session) -> OTLPSpanExporter:
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # told once, by `_Batches`
    if settings.endpoint is None:
        return OTLPSpanExporter(timeout=SEND_SECONDS, session=session)
    files: dict[str, str | None] = {}
    for key in ("ca_file", "key_file", "cert_file"):
        path = getattr(settings.tls_config, key)
        if path is not None and not path.is_file():
            raise ConfigError(f"tracing.tls_config.{key}: {path}: there is no such file")
        files[key] = None if path is None else str(path)
    return OTLPSpanExporter(
        endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces",
        headers=settings.sent_headers(),
        timeout=SEND_SECONDS,
        session=session,
        certificate_file=files["ca_file"],
        client_key_file=files["key_file"],
        client_certificate_file=files["cert_file"],
    )


def _resource(service: str, settings: TracingSettings) -> Resource:
    """With the name that the config says, or else the variables (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES)."""
    name = settings.service_name or OTELResourceDetector().detect().attributes.get(SERVICE_NAME)
    return Resource.create({"service.version": __version__, SERVICE_NAME: name or f"cloudpulse-{service}"})


def _sampler(settings: TracingSettings) -> Sampler | None:
    if settings.endpoint is None and os.environ.get("OTEL_TRACES_SAMPLER"):
        return None  # the SDK reads it
    return ParentBased(TraceIdRatioBased(settings.sample_ratio))


def _context(parent: Trace | None) -> Context:
    if parent is None or parent.sampled is None:
        return Context()
    place = api.SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=api.TraceFlags(1 if parent.sampled else 0),
        trace_state=api.TraceState.from_header([parent.state]),
    )
    return api.set_span_in_context(api.NonRecordingSpan(place), Context())


def _place(span: api.Span, parent: Trace | None) -> Trace:
    context = span.get_span_context()
    state = "" if parent is None else parent.state
    return Trace(f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled, state)
