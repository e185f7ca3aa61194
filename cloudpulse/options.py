"""The command-line options that every service takes, and what they make: logging, the server, its stop."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cloudpulse import audit, config, logs, trace
from cloudpulse.limits import DEFAULTS, Limits
from cloudpulse.origins import Loopback
from cloudpulse.serving import Server, WsgiApp, stop_on_signals
from cloudpulse.traced import Traced

if TYPE_CHECKING:
    from cloudpulse.webaccess import WebFile

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
    """`--log-level` and `--log-format`; `--audit-log`, which takes effect by itself."""
    command = click.option(
        "--audit-log",
        metavar="FILE|-",
        expose_value=False,
        callback=lambda _context, _option, path: audit.to(path),
        help="Write who changed or asked for what there, as JSON lines (default: to the log).",
    )(command)
    command = click.option("--log-format", type=click.Choice(logs.FORMATS), default="text", show_default=True)(command)
    return click.option("--log-level", type=click.Choice(logs.LEVELS), default="info", show_default=True)(command)


def web_config_option(command: Command) -> Command:
    """`--web.config.file`."""
    return click.option(
        "--web.config.file",
        "web_config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="TLS, basic auth, headers and rate limit, in exporter-toolkit's format.",
    )(command)


def web_options(default_port: int) -> Callable[[Command], Command]:
    """`--web.listen-address`, `--web.config.file`, `--web.enable-lifecycle`, `--web.access-log`."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--web.access-log", "access_log", is_flag=True, help="Log a line for each request."),
            click.option("--web.enable-lifecycle", "lifecycle", is_flag=True, help="Allow a reload by POST /-/reload."),
            web_config_option,
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
    access_log: bool = False

    @cached_property
    def file(self) -> WebFile | None:
        """`--web.config.file`, read at the first look; raises ConfigError. Hand it to `Reload`, too."""
        if self.web_config is None:
            return None
        from cloudpulse.webaccess import WebFile  # YAML, TLS and bcrypt are only for who has such a file

        return WebFile(self.web_config)


def record_spans(service: str, file: config.ConfigFile) -> None:
    """Send this process' spans from now on, where config or environment ask for it. See `tracing.begin`."""
    if "tracing" in file.tree or any(os.environ.get(name) for name in trace.COLLECTOR_VARIABLES):
        from cloudpulse import tracing  # nothing of it is loaded for who has no traces

        tracing.begin(service, file)


def serve(
    app: WsgiApp,
    web: WebOptions,
    *,
    threads: int = 16,
    limits: Limits = DEFAULTS,
    unlimited: Collection[tuple[str, str]] = (),
) -> Server:
    """A bound server for `app` with the web config applied: build it last, `run` it at once.

    `unlimited` names the (method, path) that its rate limit leaves alone. Raises AddressUnavailable and ConfigError.
    """
    app, tls = Loopback(app), None
    if web.file is not None:
        from cloudpulse.webaccess import Gate

        app, tls = Gate(app, web.file.rules, unlimited), web.file.context
    traced = Traced(app, access_log=web.access_log)
    return Server(traced, web.listen, tls=tls, threads=threads, limits=limits)


def run(
    server: Server,
    title: str,
    reload: Callable[[], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> None:
    """Serve in the main thread until SIGTERM or SIGINT; the first line says where.

    `stopping` is called in a thread of its own as the stop begins, beside the requests under way: all have 10 s.
    """
    logs.capture()
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
