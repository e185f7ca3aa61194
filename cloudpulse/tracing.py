"""Spans recorded with OpenTelemetry and sent as OTLP over HTTP: an option, loaded only where it is configured.

The `tracing` section says where to; without one OpenTelemetry's own variables do (`OTEL_EXPORTER_OTLP_ENDPOINT` and its
kin, https://opentelemetry.io/docs/specs/otel/protocol/exporter/). A collector that is away, slow or refuses costs
spans, which are counted in the log, and nothing else: work never waits for it, and a stop at most STOP_SECONDS.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from cloudpulse import __version__, logs, trace
from cloudpulse.config import ClientTls, ConfigFile, Secret, Section, secret_text
from cloudpulse.errors import ConfigError, DependencyMissing
from cloudpulse.trace import Attributes, Trace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

ENVIRONMENT = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SECTION = "tracing"

MOST_WAITING = 4096
"""Spans that wait to be sent; some 8 MB. What comes when they are so many is lost."""
BATCH = 512
SEND_EVERY_SECONDS = 2.0
SEND_SECONDS = 5.0
"""How long one try to send a batch may take, its repetitions included."""
STOP_SECONDS = 1.5
"""How long the last spans are waited for when the process ends."""

_WANTED: ContextVar[str] = ContextVar("wanted_trace_id", default="")

log = logs.get(__name__)


class TracingSettings(Section, frozen=True):
    """The `tracing` section, for all services. `endpoint` is OTLP's base URL, to which `/v1/traces` is added.

    `headers_file` holds further ones, a line `Name: value` each. `sample_ratio` is of the traces that begin here: who
    asks with a `traceparent` says whether it is recorded.
    """

    endpoint: str | None = None
    headers: Mapping[str, Secret] = msgspec.field(default_factory=dict)
    headers_file: Path | None = None
    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    service_name: str | None = None
    tls_config: ClientTls = ClientTls()

    def __post_init__(self) -> None:
        if self.tls_config.insecure_skip_verify:
            raise ValueError("tls_config.insecure_skip_verify: not for traces: give the collector's CA as ca_file")
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f'endpoint: expected a URL such as http://localhost:4318, got "{self.endpoint}"')


def begin(service: str, file: ConfigFile) -> None:
    """Record this process' spans from now on, where config or environment say so; call it once.

    Raises ConfigError, and DependencyMissing without the extra `tracing`.
    """
    settings = file.section(SECTION, TracingSettings)
    if settings.endpoint is None and not any(os.environ.get(name) for name in ENVIRONMENT):
        return
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    recorder = Recorder(service, settings)
    trace.record(recorder)
    atexit.register(recorder.close)
    log.info("spans are recorded", endpoint=settings.endpoint or "by OTEL_* variables", ratio=settings.sample_ratio)


class Recorder:
    """See trace.Recorder. For several threads; `close` sends what waits and records nothing more."""

    def __init__(self, service: str, settings: TracingSettings) -> None:
        try:
            from opentelemetry import trace as api
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import RandomIdGenerator, TracerProvider
        except ImportError as error:
            raise DependencyMissing(
                f"tracing needs the package {error.name}: pip install 'cloudpulse[tracing]'"
            ) from error
        self._api = api
        name = settings.service_name or os.environ.get("OTEL_SERVICE_NAME") or f"cloudpulse-{service}"
        resource = Resource.create({"service.name": name, "service.version": __version__})

        class Ids(RandomIdGenerator):
            """A trace that has an id before its first span, since it was asked for by `X-Request-Id`, keeps it."""

            def generate_trace_id(self) -> int:
                wanted = _WANTED.get()
                return int(wanted, 16) if wanted else super().generate_trace_id()

        # The SDK's own exit hook waits for up to 30 s.
        self._provider: TracerProvider = TracerProvider(
            sampler=_sampler(settings), resource=resource, id_generator=Ids(), shutdown_on_exit=False
        )
        self._batches = _Batches(_exporter(settings))
        self._provider.add_span_processor(self._batches.processor)
        self._tracer = self._provider.get_tracer("cloudpulse", __version__)
        self._kinds = {"internal": api.SpanKind.INTERNAL, "server": api.SpanKind.SERVER, "client": api.SpanKind.CLIENT}

    @contextlib.contextmanager
    def span(self, name: str, kind: str, attributes: Attributes, parent: Trace | None) -> Iterator[trace.Span]:
        """See trace.Recorder."""
        token = _WANTED.set(parent.trace_id if parent is not None and parent.sampled is None else "")
        try:
            span = self._tracer.start_span(name, self._context(parent), self._kinds[kind], dict(attributes))
        finally:
            _WANTED.reset(token)
        recorded = _Recorded(span, self._api)
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
        span = self._tracer.start_span(
            name, self._context(parent), attributes=dict(attributes), start_time=int(began * 1e9)
        )
        if why:
            _Recorded(span, self._api).failed(why)
        span.end()

    def close(self) -> None:
        """Send what waits, for at most STOP_SECONDS."""
        trace.record(None)
        self._batches.close(STOP_SECONDS)

    def _context(self, parent: Trace | None) -> Context:
        from opentelemetry.context import Context

        if parent is None or parent.sampled is None:
            return Context()
        flags = self._api.TraceFlags(1 if parent.sampled else 0)
        place = self._api.SpanContext(
            int(parent.trace_id, 16),
            int(parent.span_id, 16),
            is_remote=True,
            trace_flags=flags,
            trace_state=self._api.TraceState.from_header([parent.state]),
        )
        return self._api.set_span_in_context(self._api.NonRecordingSpan(place), Context())


class _Recorded:
    def __init__(self, span: Any, api: Any) -> None:
        self._span = span
        self._api = api

    def named(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, name: str, value: str | float) -> None:
        self._span.set_attribute(name, value)

    def failed(self, why: str) -> None:
        self._span.set_status(self._api.StatusCode.ERROR, why)


class _Batches:
    """Sends ended spans from a thread of its own. `lost` counts those that didn't get there."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.trace import SpanProcessor
        from opentelemetry.sdk.trace.export import SpanExportResult

        batches = self

        class Processor(SpanProcessor):
            def on_end(self, span: ReadableSpan) -> None:
                if span.context is not None and span.context.trace_flags.sampled:
                    batches.put(span)

        self.processor = Processor()
        self.lost = 0
        self._exporter = exporter
        self._done = SpanExportResult.SUCCESS
        self._waiting: queue.Queue[ReadableSpan] = queue.Queue(MOST_WAITING)
        self._full = threading.Event()
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def put(self, span: ReadableSpan) -> None:
        """Never waits."""
        try:
            self._waiting.put_nowait(span)
        except queue.Full:
            self._lost(1, "more than are sent")
        if self._waiting.qsize() >= BATCH:
            self._full.set()

    def close(self, seconds: float) -> None:
        """Send what waits; what isn't sent by then is lost, and so is what comes later."""
        self._closing = True
        self._full.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._closing:
            self._full.wait(SEND_EVERY_SECONDS)
            self._full.clear()
            while batch := self._batch():
                self._send(batch)

    def _batch(self) -> list[ReadableSpan]:
        batch: list[ReadableSpan] = []
        with contextlib.suppress(queue.Empty):
            while len(batch) < BATCH:
                batch.append(self._waiting.get_nowait())
        return batch

    def _send(self, batch: list[ReadableSpan]) -> None:
        try:
            sent = self._exporter.export(batch) is self._done
        except Exception:  # noqa: BLE001  whatever a collector answers, work goes on
            sent = False
        if not sent:
            self._lost(len(batch), "the collector is away or refuses them")
        elif self._failing:
            self._failing = False
            log.info("spans are taken again", lost=self.lost)

    def _lost(self, count: int, why: str) -> None:
        self.lost += count
        if not self._failing:
            self._failing = True
            log.warning("spans are lost, work goes on", why=why, hint="check tracing.endpoint, or OTEL_EXPORTER_OTLP_*")


def _exporter(settings: TracingSettings) -> SpanExporter:
    import logging

    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # told once, by `_Batches`
    session = requests.Session()
    session.trust_env = False  # a proxy variable must not redirect spans
    if settings.endpoint is None:
        return OTLPSpanExporter(timeout=SEND_SECONDS, session=session)
    tls = settings.tls_config
    return OTLPSpanExporter(
        endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces",
        headers=_headers(settings),
        timeout=SEND_SECONDS,
        session=session,
        certificate_file=str(tls.ca_file) if tls.ca_file else None,
        client_key_file=str(tls.key_file) if tls.key_file else None,
        client_certificate_file=str(tls.cert_file) if tls.cert_file else None,
    )


def _headers(settings: TracingSettings) -> dict[str, str]:
    found = {name.lower(): value.reveal() for name, value in settings.headers.items()}
    if settings.headers_file is not None:
        for number, line in enumerate(secret_text(None, settings.headers_file).splitlines(), 1):
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise ConfigError(f"{settings.headers_file}: line {number}: expected `Name: value`")
            found[name.strip().lower()] = value.strip()
    return found


def _sampler(settings: TracingSettings) -> Any:
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    if settings.endpoint is None and os.environ.get("OTEL_TRACES_SAMPLER"):
        return None  # the SDK reads it
    return ParentBased(TraceIdRatioBased(settings.sample_ratio))


def _place(span: Span | Any, parent: Trace | None) -> Trace:
    context = span.get_span_context()
    state = "" if parent is None else parent.state
    return Trace(f"{context.trace_id:032x}", f"{context.span_id:016x}", context.trace_flags.sampled, state)
