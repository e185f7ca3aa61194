"""What every service shows over HTTP, and the server that shows it.

`Face` answers the paths that all services share (`/`, `/metrics`, `/-/healthy`, `/-/ready`, `/health`,
`/-/reload`) and hands the rest to the service's own WSGI app. `Server` shows it: see `reception.py`.
"""

from __future__ import annotations

import contextlib
import errno
import html
import json
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cloudpulse import audit, logs, origins
from cloudpulse.answer import GUARDS as GUARDS
from cloudpulse.environ import CLIENT_CERTIFICATE as CLIENT_CERTIFICATE
from cloudpulse.environ import HEADERS as HEADERS
from cloudpulse.errors import AddressUnavailable, ConfigError
from cloudpulse.families import Family, ForeignFamily
from cloudpulse.limits import DEFAULTS, Limits
from cloudpulse.metricspage import MetricsPage
from cloudpulse.reception import WsgiServer

if TYPE_CHECKING:  # a server without TLS doesn't load it
    import ssl

    from prometheus_client.core import Metric

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

SHARED = ("/", "/metrics", "/-/healthy", "/-/ready", "/health")
"""What GET answers in every service."""

STOP_SECONDS = 8
"""How long a stop waits for requests under way; the contract's 10 s less a margin."""

log = logs.get(__name__)


class Collects(Protocol):
    """A registry or a collector."""

    def collect(self) -> Iterable[Family | ForeignFamily | Metric]:
        """Yield metric families."""


@dataclass(frozen=True)
class Health:
    """Whether the service can do its job now, and the facts behind it (JSON-able, no secrets)."""

    ready: bool
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """A line of the landing page."""

    path: str
    text: str


class Face:
    """The WSGI app of a service.

    `reload`, where given, is called by `POST /-/reload`; it raises ConfigError to refuse. `scrape`, where given, has
    the metrics that depend on the request: see MetricsPage.
    """

    def __init__(
        self,
        title: str,
        metrics: Sequence[Collects],
        health: Callable[[], Health],
        *,
        scrape: Callable[[Environ], Collects] | None = None,
        links: Sequence[Link] = (),
        app: WsgiApp | None = None,
        reload: Callable[[], None] | None = None,
    ) -> None:
        self._title = title
        self._metrics = MetricsPage(metrics, scrape)
        self._health = health
        self._links = (*links, Link("/metrics", "Metrics"), Link("/health", "Health"))
        self._app = app
        self._reload = reload

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", "/"), environ["REQUEST_METHOD"]
        if path == "/metrics" and method in ("GET", "HEAD"):
            return self._metrics(environ, start_response)
        answer = self._shared(path, method, environ)
        if answer is None:
            if self._app is not None:
                return self._app(environ, start_response)
            answer = _text("404 Not Found", f"{path} is not here; see / for what is\n")
        status, kind, body = answer
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        if status.startswith("405"):
            headers.append(("Allow", "GET, HEAD" if path in SHARED else "POST"))
        start_response(status, headers)
        return [] if method == "HEAD" else [body]

    def _shared(self, path: str, method: str, environ: Environ) -> tuple[str, str, bytes] | None:
        if path == "/-/reload" and self._reload is not None:
            return self._reloaded(method, environ)
        if path not in SHARED:
            return None
        if method not in ("GET", "HEAD"):
            return _text("405 Method Not Allowed", f"{path} takes GET\n")
        if path == "/-/healthy":
            return _text("200 OK", f"{self._title} is up\n")
        health = self._health()
        status = "200 OK" if health.ready else "503 Service Unavailable"
        if path == "/-/ready":
            return _text(status, f"{self._title} is {'ready' if health.ready else 'not ready: see /health'}\n")
        if path == "/health":
            facts = {"service": self._title, "ready": health.ready, **health.facts}
            return status, "application/json", json.dumps(facts, default=str).encode()
        return "200 OK", "text/html; charset=utf-8", self._landing(health).encode()

    def _reloaded(self, method: str, environ: Environ) -> tuple[str, str, bytes]:
        assert self._reload is not None
        if method != "POST":
            return _text("405 Method Not Allowed", "/-/reload takes POST\n")
        if origins.foreign(environ):
            return _text("403 Forbidden", "changes are not taken from other sites' pages\n")
        try:
            _reload_audited(self._reload, environ.get("REMOTE_USER", ""), environ.get("REMOTE_ADDR", ""))
        except ConfigError as error:
            return _text("500 Internal Server Error", f"{error}\nThe config before it goes on.\n")
        return _text("200 OK", "reloaded\n")

    def _landing(self, health: Health) -> str:
        links = "".join(f'<li><a href="{html.escape(x.path)}">{html.escape(x.text)}</a></li>' for x in self._links)
        facts = "".join(
            f"<tr><th>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>" for k, v in health.facts.items()
        )
        title = html.escape(self._title)
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width">'
            f"<h1>{title}</h1><p>{'Ready' if health.ready else 'Not ready'}.</p>"
            f"<ul>{links}</ul><table>{facts}</table>\n"
        )


def _reload_audited(reload: Callable[[], None], who: str, origin: str) -> None:
    """Reload, and write into the audit log who asked for it; raises ConfigError."""

    def tell(result: str, **about: object) -> None:
        if not audit.written(who, "reload config", result, origin={"from": origin}, about=about):
            log.info("audit", who=who, **{"from": origin}, action="reload config", result=result, **about)

    try:
        reload()
    except ConfigError as error:
        tell("refused", why=str(error))
        raise
    tell("reloaded")


def takes_get(path: str, start_response: StartResponse) -> list[bytes]:
    """The answer to another method than GET and HEAD."""
    status, kind, body = _text("405 Method Not Allowed", f"{path} takes GET\n")
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), ("Allow", "GET, HEAD")])
    return [body]


def _text(status: str, text: str) -> tuple[str, str, bytes]:
    return status, "text/plain; charset=utf-8", text.encode()


class Server:
    """Serves one WSGI app on one address; bound at construction, so that a taken port is an error before work starts.

    `tls` gives the context for each new connection. `run` blocks until `stop` is set. `close` it if it is never run.
    """

    def __init__(
        self,
        app: WsgiApp,
        listen: str,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        threads: int = 16,
        limits: Limits = DEFAULTS,
    ) -> None:
        secure = None
        if tls is not None:
            from cloudpulse.tls import Tls

            secure = Tls(tls)
        try:
            self._server = WsgiServer(app, split_address(listen), threads=threads, limits=limits, tls=secure)
        except OSError as error:
            raise AddressUnavailable(_unavailable(listen, error)) from error
        self._scheme = "https" if tls else "http"

    @property
    def port(self) -> int:
        """The port in use; the one that the system gave when 0 was asked for."""
        return self._server.address[1]

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = self._server.address[0]
        host = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
        return f"{self._scheme}://{host}:{self.port}"

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set, then finish the requests under way."""
        stopping = threading.Thread(target=self._stop_when, args=(stop,), name="stop", daemon=True)
        stopping.start()
        try:
            self._server.serve()
        finally:
            # serve() returns as soon as the stop begins; what requests under way still use must outlive them.
            stop.set()
            stopping.join(STOP_SECONDS + 1)

    def close(self) -> None:
        """Let go of the address; only a server that never ran needs it."""
        self._server.stop(0)

    def _stop_when(self, stop: threading.Event) -> None:
        stop.wait()
        self._server.stop(STOP_SECONDS)


@contextlib.contextmanager
def in_thread(app: WsgiApp, listen: str, limits: Limits = DEFAULTS) -> Iterator[str]:
    """Serve `app` in a thread while the block runs; yields its URL. Raises AddressUnavailable."""
    server, stop = Server(app, listen, limits=limits), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,), name="server", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        stop.set()
        thread.join(STOP_SECONDS + 2)


def stop_on_signals(stop: threading.Event, reload: Callable[[], None] | None = None) -> None:
    """SIGTERM and SIGINT set `stop`; SIGHUP calls `reload` in a thread of its own. Call it in the main thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if hasattr(signal, "SIGHUP"):

        def hang_up(*_: object) -> None:
            if reload is not None:
                threading.Thread(target=_reload_logged, args=(reload,), name="reload", daemon=True).start()

        signal.signal(signal.SIGHUP, hang_up)


def _reload_logged(reload: Callable[[], None]) -> None:
    try:
        _reload_audited(reload, "signal:SIGHUP", "")
    except ConfigError as error:
        log.error("config not reloaded, the one before goes on", error=str(error))


def split_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9810` or `[::1]:9810` as host and port, `:9810` with no host for all of both kinds.

    Raises ConfigError.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f'--web.listen-address: expected HOST:PORT such as :9810, got "{text}"')
    return host.strip("[]"), int(port)


def _unavailable(listen: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{listen} is taken by another program: stop that, or choose another --web.listen-address"
    return f"can't listen on {listen}: {error}"
