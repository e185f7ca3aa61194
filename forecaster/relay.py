"""The relay: a client of the alert bridge's `/api/v1/stream`, so that one page shows forecasts and alerts.

A protocol and not an import: services never import one another. A bridge that isn't there is a fact, not an error.
"""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from cloudpulse import logs, trace
from cloudpulse.config import secret_text
from cloudpulse.errors import CloudPulseError
from forecaster.config import AlertBridge

KINDS = "alerts,acked,ack_undone,dismissed"
"""What happens to alerts, and not how their deliveries go."""
LAST = 20
"""Of what happened before the first connection so many are asked for: who looks wants to see what fires."""
OPEN_SECONDS = 5.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""Between two tries, doubled each time, with jitter."""
LINGER_SECONDS = 30.0
"""Kept connected after the last client has gone: a page that is reloaded comes back."""
LOOK_SECONDS = 0.5

log = logs.get(__name__)


class _Told(msgspec.Struct):
    """What of a message matters here."""

    id: int
    kind: str


class Relay:
    """Connected only while somebody listens: for every client the bridge looks into its database twice a second.

    Between `start` and `close` a thread of its own works; the other methods may be called by any. `tell` gets each
    message, JSON, once: after a break the bridge is asked for what came after the last. `wanted` says whether anybody
    listens; `forget` is called when what was told may not be so any more: another bridge, or events that were missed.
    """

    def __init__(
        self,
        settings: AlertBridge | None,
        wanted: Callable[[], bool],
        tell: Callable[[bytes], None],
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._wanted = wanted
        self._tell = tell
        self._forget = forget
        self._after: int | None = None
        self._state = "not tried: nobody listens"
        self._failure = ""
        self._news = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def state(self) -> str | None:
        """For /health: connected, idle or why not; None where no bridge is configured."""
        return self._state if self._settings is not None else None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def apply(self, settings: AlertBridge | None) -> None:
        """Use this bridge from now on."""
        if settings != self._settings:
            self._settings, self._after = settings, None
            self._state = "not tried: nobody listens"
            self._forget()
            self._news.set()

    def close(self) -> None:
        """Stop; a connection that is being opened is left to the end of the process."""
        self._stopping = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(2 * LOOK_SECONDS)

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping:
            self._news.clear()
            settings = self._settings
            if settings is None or not self._wanted():
                self._news.wait(LOOK_SECONDS)
                continue
            try:
                self._listen(settings)
                pause = FIRST_PAUSE_SECONDS
                continue
            except Exception as error:  # noqa: BLE001  whatever a server says, forecasts go on
                connected = self._state == "connected"
                self._failed(settings, error)
            pause = FIRST_PAUSE_SECONDS if connected else min(2 * pause, LONGEST_PAUSE_SECONDS)
            self._sleep(pause * random.uniform(0.5, 1.0))

    def _listen(self, settings: AlertBridge) -> None:
        """Until nobody else does, or the settings change. Raises whatever ends the connection before."""
        with trace.span("relay connect", "client", server__address=urlsplit(settings.url).hostname or ""):
            connection = _connected(settings, self._after)
        with connection as client:
            self._state = "not connected: it has said nothing yet"
            silent = 0.0
            while not self._stopping and settings is self._settings:
                silent = 0.0 if self._wanted() else silent + LOOK_SECONDS
                if silent > LINGER_SECONDS:
                    break
                try:
                    message = client.recv(LOOK_SECONDS, decode=False)
                except TimeoutError:
                    continue
                self._hear(settings, message)
        self._state = "idle: nobody listens"

    def _hear(self, settings: AlertBridge, message: bytes) -> None:
        told = msgspec.json.decode(message, type=_Told)
        if settings is not self._settings:
            return
        self._after = told.id
        if self._state != "connected":
            log.info("alerts are relayed", bridge=settings.url)
        self._state, self._failure = "connected", ""
        if told.kind == "reset":
            self._forget()
            log.warning("some of the bridge's alerts were missed: it doesn't keep them any more", bridge=settings.url)
        elif told.kind != "hello":
            self._tell(message)

    def _failed(self, settings: AlertBridge, error: Exception) -> None:
        reason = _reason(error)
        self._state = f"not connected: {reason}"
        if reason != self._failure and not self._stopping:
            log.warning("alerts not relayed, will try again", bridge=settings.url, error=reason)
        self._failure = reason

    def _sleep(self, seconds: float) -> None:
        """Unless the process stops or the settings change; a client more is no reason to try earlier."""
        settings = self._settings
        for _ in range(int(seconds / LOOK_SECONDS) + 1):
            if self._stopping or settings is not self._settings:
                return
            time.sleep(LOOK_SECONDS)


def _connected(settings: AlertBridge, after: int | None) -> ClientConnection:
    parts = urlsplit(settings.url)
    secure = parts.scheme == "https"
    where = {"after": after} if after is not None else {"last": LAST}
    url = f"{'wss' if secure else 'ws'}://{parts.netloc}{parts.path.rstrip('/')}/api/v1/stream"
    headers = {**trace.headers()}
    if settings.api_key is not None or settings.api_key_file is not None:
        headers["X-API-Key"] = secret_text(settings.api_key, settings.api_key_file)
    address = (parts.hostname or "", parts.port or (443 if secure else 80))
    # With a socket of ours there is neither a proxy, nor a redirect, which would take the key along to another host.
    plain = socket.create_connection(address, timeout=OPEN_SECONDS)
    try:
        return connect(
            f"{url}?{urlencode({**where, 'kinds': KINDS})}",
            sock=plain,
            ssl=_tls(settings) if secure else None,
            additional_headers=headers,
            compression=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=LOOK_SECONDS,
            legacy=True,
        )
    except BaseException:
        plain.close()
        raise


def _tls(settings: AlertBridge) -> ssl.SSLContext:
    tls = settings.tls_config
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.insecure_skip_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _reason(error: Exception) -> str:
    """Why, without what a library may quote of the request, whose headers hold the key."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        hint = {401: ": set forecaster.alert_bridge.api_key_file", 403: ": its key may not read"}.get(status, "")
        return f"it answered {status}{hint}"
    if isinstance(error, ConnectionClosed):
        ours = error.sent is not None and not error.rcvd_then_sent
        return f"given up, {error.sent}" if ours else "it closed the connection"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error.strerror}"
    if isinstance(error, TimeoutError):
        return f"no answer within {OPEN_SECONDS:g} s"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, CloudPulseError):
        return str(error)
    if isinstance(error, InvalidHandshake | msgspec.DecodeError):
        return "it is no alert bridge: check forecaster.alert_bridge.url"
    return f"{type(error).__name__}: check forecaster.alert_bridge"
