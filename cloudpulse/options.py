"""The command-line options that every service takes, and what they make: logging, the server, its stop."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from cloudpulse import config, logs
from cloudpulse.errors import ConfigError
from cloudpulse.limits import DEFAULTS, Limits
from cloudpulse.serving import Environ, Server, StartResponse, WsgiApp, stop_on_signals

Command = TypeVar("Command", bound=Callable[..., Any])

log = logs.get(__name__)


def config_option(command: Command) -> Command:
    """`--config FILE`."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"Config file (default {config.DEFAULT_PATH}; ${config.PATH_VARIABLE}).",
    )(command)


def log_options(command: Command) -> Command:
    """`--log-level` and `--log-format`."""
    command = click.option("--log-format", type=click.Choice(logs.FORMATS), default="text", show_default=True)(command)
    return click.option("--log-level", type=click.Choice(logs.LEVELS), default="info", show_default=True)(command)


def web_options(default_port: int) -> Callable[[Command], Command]:
    """`--web.listen-address`, `--web.config.file`, `--web.enable-lifecycle`."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--web.enable-lifecycle", "lifecycle", is_flag=True, help="Allow a reload by POST /-/reload."),
            click.option(
                "--web.config.file",
                "web_config",
                type=click.Path(path_type=Path, dir_okay=False),
                help="TLS and basic auth, in exporter-toolkit's format.",
            ),
            click.option(
                "--web.listen-address", "listen", default=f":{default_port}", show_default=True, metavar="HOST:PORT"
            ),
        ):
            command = option(command)
        return command

    return decorate


@dataclass(frozen=True)
class WebOptions:
    """What the web options said."""

    listen: str
    web_config: Path | None = None
    lifecycle: bool = False


def serve(app: WsgiApp, web: WebOptions, threads: int = 16, limits: Limits = DEFAULTS) -> Server:
    """A bound server for `app` with the web config applied: build it last, `run` it at once.

    Raises AddressUnavailable and ConfigError.
    """
    tls = None
    if web.web_config is not None:
        from cloudpulse import webconfig  # and with it ssl and yaml, only where they are asked for

        settings = webconfig.read(web.web_config)
        if settings.basic_auth_users:
            app = _BasicAuth(app, settings.basic_auth_users)
        if settings.tls_server_config is not None:
            tls = webconfig.ReloadingContext(
                settings.tls_server_config, lambda error: log.error("certificate not reloaded", error=str(error))
            )
    return Server(app, web.listen, tls=tls, threads=threads, limits=limits)


def run(
    server: Server,
    title: str,
    reload: Callable[[], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> None:
    """Serve in the main thread until SIGTERM or SIGINT; the first line says where.

    `stopping` is called in a thread of its own as the stop begins, beside the requests under way: all have 10 s.
    """
    stop = threading.Event()
    stop_on_signals(stop, reload)
    if stopping is not None:
        threading.Thread(target=_when, args=(stop, stopping), name="stopping", daemon=True).start()
    log.info("listening", service=title, url=server.url)
    try:
        server.run(stop)
    finally:
        server.close()
    log.info("stopped", service=title)


def _when(stop: threading.Event, stopping: Callable[[], None]) -> None:
    stop.wait()
    stopping()


class _BasicAuth:
    """WSGI middleware: bcrypt basic auth for every path."""

    def __init__(self, app: WsgiApp, users: dict[str, str]) -> None:
        try:
            import bcrypt
        except ImportError as error:
            raise ConfigError("basic_auth_users needs the package bcrypt: pip install bcrypt") from error
        self._app = app
        self._users = {user: hashed.encode() for user, hashed in users.items()}
        # An unknown user costs the same time as a known one: a hash of the same cost that nothing matches.
        self._nobody = bcrypt.hashpw(b"nobody", bcrypt.gensalt(10))
        self._check = bcrypt.checkpw

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if self._known(environ.get("HTTP_AUTHORIZATION", "")):
            return self._app(environ, start_response)
        body = b"401 Unauthorized\n"
        headers = [("WWW-Authenticate", 'Basic realm="cloudpulse"'), ("Content-Length", str(len(body)))]
        start_response("401 Unauthorized", [*headers, ("Content-Type", "text/plain; charset=utf-8")])
        return [body]

    def _known(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        try:
            user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        if scheme.lower() != "basic" or not colon:
            return False
        hashed = self._users.get(user)
        # bcrypt reads 72 bytes; longer passwords are refused instead of cut.
        matches = len(password.encode()) <= 72 and self._check(password.encode(), hashed or self._nobody)
        return matches and hashed is not None
