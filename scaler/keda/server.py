"""The port that KEDA asks: gRPC on an event loop in a thread of its own, beside the HTTPS server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

import grpc

from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.errors import AddressUnavailable
from cloudpulse.serving import Health
from scaler.keda.config import Keda
from scaler.keda.credentials import credentials
from scaler.keda.servicer import MAX_STREAMS, Servicer
from scaler.meters import Meters
from scaler.provider import Provider

STOP_SECONDS = 5
"""How long a stop waits for calls under way."""
MAX_CALLS = 256
"""Beside the streams; more at once are refused with RESOURCE_EXHAUSTED."""

OPTIONS = (
    # Without it a second process could take the same port, and each would get some of the calls.
    ("grpc.so_reuseport", 0),
    # A trigger's metadata; the largest selector that Kubernetes would store is far below.
    ("grpc.max_receive_message_length", 64 * 1024),
    # Streams of a node that died without a word are found out and ended.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # One client may have all of it; who doesn't finish a handshake, or asks nothing, is let go.
    ("grpc.max_concurrent_streams", MAX_STREAMS + MAX_CALLS),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 900_000),
    # Go's clients may ping every 10 s; gRPC's default of 5 minutes would hang up on them.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

log = logs.get(__name__)


class KedaServer:
    """Serves `provider()` from `start` to `close`."""

    def __init__(self, settings: Keda, provider: Callable[[], Provider], meters: Meters, clock: Clock) -> None:
        # gRPC's debug line about a server that is being freed holds it: freed again with the line, it ends the process.
        logging.getLogger("grpc._cython.cygrpc").setLevel(logging.INFO)
        self._settings = settings
        self._provider = provider
        self._meters = meters
        self._clock = clock
        self._bound: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="keda", daemon=True)

    @property
    def port(self) -> int:
        """The port in use, once started."""
        return self._bound.result(0)

    @property
    def serving(self) -> bool:
        """Whether calls are answered."""
        return self._thread.is_alive() and not self._stopping.is_set()

    def health(self) -> Health:
        """Ready while it serves."""
        served = "served" if self.serving else "not served"
        return Health(self.serving, {"keda": f"{served} on {self._settings.listen}"})

    def start(self) -> None:
        """Bind and serve; raises AddressUnavailable and ConfigError."""
        self._thread.start()
        self._bound.result()
        log.info("listening", service="keda", address=self._settings.listen, port=self.port)
        if self._settings.insecure:
            log.warning("anyone who reaches KEDA's port may read the metrics: scaler.keda.insecure is true")

    def close(self) -> None:
        """End the streams, finish the calls under way. It may be called again, and without `start`."""
        if self._loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # closed at this very moment
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_SECONDS + 2)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # whoever waits for `start` gets it
            if self._bound.done():
                log.error("KEDA's port is no longer served", error=str(error), exc_info=True)
            else:
                self._bound.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MAX_STREAMS + MAX_CALLS)
        servicer = Servicer(self._provider, self._meters, self._clock, self._stopping)
        server.add_generic_rpc_handlers((servicer.handler(),))
        port = self._bind(server)
        await server.start()
        self._bound.set_result(port)
        await self._stopping.wait()
        await server.stop(STOP_SECONDS)

    def _bind(self, server: grpc.aio.Server) -> int:
        host, port = self._settings.address
        host = host or "::"  # gRPC's own word for IPv4 and IPv6
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        tls = self._settings.tls
        try:
            if tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, credentials(tls, _not_reloaded))
        except RuntimeError as error:
            raise AddressUnavailable(
                f"can't listen on {self._settings.listen}: stop the program that has it, or choose another "
                "scaler.keda.listen"
            ) from error


def _not_reloaded(error: Exception) -> None:
    log.error("certificate not reloaded", error=str(error))
