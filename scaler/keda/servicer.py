"""KEDA's four calls, answered from the rules. Absent beats wrong: no trustworthy value is an error, never 0 or false.

KEDA takes an error for "no metric": replicas stay, then comes the ScaledObject's `fallback`. `false` is for it "scale
to zero". It counts values in whole thousandths: of the float where that is above 0, cut off (newer ones: the nearest),
else of the whole number (pkg/scalers/external_scaler.go and scaler.go).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message

from cloudpulse import logs, trace
from cloudpulse.clock import Clock
from scaler import audit
from scaler.authentication import ANONYMOUS
from scaler.keda.externalscaler_pb2 import (
    GetMetricSpecResponse,
    GetMetricsRequest,
    GetMetricsResponse,
    IsActiveResponse,
    MetricSpec,
    MetricValue,
    ScaledObjectRef,
)
from scaler.keda.trigger import Trigger, trigger
from scaler.meters import Meters
from scaler.provider import Answer, Provider
from scaler.quantity import thousandths
from scaler.refusal import Refused, not_found, unavailable
from scaler.watch import Snapshot

SERVICE = "externalscaler.ExternalScaler"
API = "keda"
MAX_STREAMS = 1000
"""StreamIsActive calls at once; each is a coroutine that wakes once a second, not a thread."""
POLL_SECONDS = 1.0

_CODES = {400: grpc.StatusCode.INVALID_ARGUMENT, 404: grpc.StatusCode.NOT_FOUND, 503: grpc.StatusCode.UNAVAILABLE}
_LONGEST_DETAIL = 1000  # it travels in a header, which clients bound

Asked = TypeVar("Asked", bound=Message)
Context = grpc.aio.ServicerContext[Any, Any]

log = logs.get(__name__)


class Caller(NamedTuple):
    """Who asks, as the audit log has it: the name, and the address that it came from."""

    name: str
    origin: str


class Servicer:
    """Answers on one event loop, from memory. `provider` gives the rules of this moment, so that a reload is seen.

    Streams end by themselves once `stopping` is set.
    """

    def __init__(self, provider: Callable[[], Provider], meters: Meters, clock: Clock, stopping: asyncio.Event) -> None:
        self._provider = provider
        self._meters = meters
        self._clock = clock
        self._stopping = stopping
        self._streams = 0

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """For `add_generic_rpc_handlers`; what it doesn't know is UNIMPLEMENTED, which KEDA takes for "optional"."""
        calls = {
            "IsActive": self._unary(self.is_active, ScaledObjectRef),
            "GetMetricSpec": self._unary(self.metric_spec, ScaledObjectRef),
            "GetMetrics": self._unary(self.metrics, GetMetricsRequest),
            "StreamIsActive": grpc.unary_stream_rpc_method_handler(
                self._stream,
                request_deserializer=ScaledObjectRef.FromString,
                response_serializer=IsActiveResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE, calls)

    def is_active(self, request: ScaledObjectRef, caller: Caller) -> IsActiveResponse:
        """Whether the value is above activationValue. Raises Refused, also without a value: `false` scales to zero."""
        asked = _trigger(request)
        answer = self._answer(asked, caller)
        return IsActiveResponse(result=_is_active(asked, answer))

    def metric_spec(self, request: ScaledObjectRef, caller: Caller) -> GetMetricSpecResponse:
        """The target; a value isn't needed for it, only the rule. Raises Refused."""
        asked = _trigger(request)
        # Kubernetes asks for external metrics in lower case.
        name = self._provider().external_watch(asked.metric).rule.name.lower()
        size = MetricSpec(metricName=name, targetSize=max(1, int(asked.target)), targetSizeFloat=sent(asked.target))
        return GetMetricSpecResponse(metricSpecs=[size])

    def metrics(self, request: GetMetricsRequest, caller: Caller) -> GetMetricsResponse:
        """The value: the sum over the series, as the HPA adds them up. Raises Refused."""
        asked = _trigger(request.scaledObjectRef)
        if request.metricName.lower() != asked.metric.lower():
            raise not_found(f'the trigger has the metric "{asked.metric}", not "{request.metricName}"')
        total = self._answer(asked, caller).total
        value = MetricValue(metricName=request.metricName, metricValue=math.ceil(total), metricValueFloat=sent(total))
        return GetMetricsResponse(metricValues=[value])

    def _unary(
        self, call: Callable[[Asked, Caller], Message], request_type: type[Asked]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        async def handle(request: Asked, context: Context) -> Message:
            _enter(context)
            started, caller = time.perf_counter(), _caller(context)
            try:
                return call(request, caller)
            except Refused as refused:
                ref = request.scaledObjectRef if isinstance(request, GetMetricsRequest) else request
                assert isinstance(ref, ScaledObjectRef)
                self._refused(ref, caller, refused, started)
                await _abort(context, refused)

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_type.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def _stream(self, request: ScaledObjectRef, context: Context) -> AsyncIterator[IsActiveResponse]:
        if self._streams >= MAX_STREAMS:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_STREAMS} streams are open: no more than that"
            )
        self._streams += 1
        _enter(context)
        caller = _caller(context)
        try:
            async for active in self._changes(_trigger(request), caller):
                yield IsActiveResponse(result=active)
        except Refused as refused:
            self._refused(request, caller, refused, time.perf_counter())
            await _abort(context, refused)
        finally:
            self._streams -= 1

    async def _changes(self, asked: Trigger, caller: Caller) -> AsyncIterator[bool]:
        """Activity at first and whenever it changes. While there is no trustworthy value it stays silent.

        An error instead would have KEDA wait longer and longer before it asks again; its polling shows the reason.
        Raises Refused when the rule is gone.
        """
        last: bool | None = None
        seen: Snapshot | None = None
        while not self._stopping.is_set():
            snapshot = self._provider().external_watch(asked.metric).last()
            if snapshot is not None and snapshot is not seen:
                seen = snapshot
                if (active := self._news(asked, caller, last)) is not None:
                    yield active
                    last = active
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), POLL_SECONDS)

    def _news(self, asked: Trigger, caller: Caller, last: bool | None) -> bool | None:
        """Activity where it is known and not what it was."""
        started = time.perf_counter()
        try:
            answer = self._ask(asked)
        except Refused:
            return None
        active = _is_active(asked, answer)
        if active is last:
            return None
        self._given(asked, caller, answer, started)
        return active

    def _answer(self, asked: Trigger, caller: Caller) -> Answer:
        started = time.perf_counter()
        answer = self._ask(asked)
        self._given(asked, caller, answer, started)
        return answer

    def _ask(self, asked: Trigger) -> Answer:
        provider = self._provider()
        try:
            return provider.external(asked.metric, asked.namespace, asked.selector)
        except Refused as refused:
            if refused.code == 404 and provider.name_of(asked.metric, ""):
                # The metric is right and its series are missing, which may be over in a moment.
                raise unavailable(refused.message) from None
            raise

    def _given(self, asked: Trigger, caller: Caller, answer: Answer, started: float) -> None:
        self._meters.answered(API, answer, time.perf_counter() - started)
        about = {"namespace": asked.namespace, "object": _object(asked.name)}
        audit.answered(caller.name, caller.origin, API, answer, self._clock(), **about)

    def _refused(self, ref: ScaledObjectRef, caller: Caller, refused: Refused, started: float) -> None:
        metric = ref.scalerMetadata.get("metricName", "")
        name = self._provider().name_of(metric, "")
        self._meters.refused(API, name, refused.code, time.perf_counter() - started)
        log.info(
            "refused",
            user=caller.name,
            api=API,
            metric=metric[:_LONGEST_DETAIL],
            namespace=ref.namespace,
            object=_object(ref.name),
            code=refused.code,
            why=refused.message[:_LONGEST_DETAIL],
        )


def _object(name: str) -> str:
    return f"scaledobjects/{name}"


def sent(value: float) -> float:
    """The least float that KEDA counts as `value` in thousandths, rounded up; `value` from 0 to 2^53.

    >>> sent(1.001) * 1000 >= 1001 > 1.001 * 1000, sent(0.0001)
    (True, 0.001)
    """
    count = thousandths(value)
    found = count / 1000
    while found * 1000 < count:
        found = math.nextafter(found, math.inf)
    return found


def _is_active(asked: Trigger, answer: Answer) -> bool:
    return answer.total > asked.activation


def _trigger(request: ScaledObjectRef) -> Trigger:
    return trigger(request.name, request.namespace, request.scalerMetadata)


def _enter(context: Context) -> None:
    """Take the caller's trace, or begin one; each call runs in a task, and with it a context, of its own."""
    told: dict[str, list[str]] = {}
    for name, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            told.setdefault(name, []).append(value)
    asked = trace.parsed(",".join(told.get(trace.HEADER, ())), ",".join(told.get(trace.STATE, ())))
    trace.enter(asked or trace.begun())


def _caller(context: Context) -> Caller:
    names = list(context.auth_context().get("x509_common_name", ()))
    if names:
        name = f"certificate:{names[0].decode('utf-8', 'replace')}"
    else:
        name = ANONYMOUS if context.peer_identities() is None else "certificate:without a common name"
    # ipv4:10.0.0.7:50123 or ipv6:%5B::1%5D:50123
    address = unquote(context.peer()).partition(":")[2].rpartition(":")[0]
    return Caller(name, address.strip("[]"))


async def _abort(context: Context, refused: Refused) -> NoReturn:
    await context.abort(_CODES[refused.code], refused.message[:_LONGEST_DETAIL])
    raise AssertionError("abort raises")
