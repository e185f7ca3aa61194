"""Structured logs on stderr, as text or JSON lines, with one correlation id per round or request.

log = logs.get(__name__)
with logs.correlation("round"):
    log.info("predicted", forecast="web_rps", series=8)
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import sys
from collections.abc import Iterator

import structlog
from structlog.typing import FilteringBoundLogger, Processor

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")


def configure(level: str = "info", output_format: str = "text") -> None:
    """Set up logging for the process; libraries' own log records take the same way out."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor]
    if output_format == "json":
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # The default formatter shows the frames' local variables, and with them every secret that is in use.
        plain = structlog.dev.plain_traceback
        render = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False, exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("urllib3", "cmdstanpy", "prophet", "kubernetes", "apprise", "matplotlib", "websockets"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def get(name: str) -> FilteringBoundLogger:
    """The logger of a module."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


@contextlib.contextmanager
def correlation(kind: str, identifier: str | None = None) -> Iterator[str]:
    """Give every log line inside the block the same `kind` id (a new one unless given)."""
    value = identifier or secrets.token_hex(6)
    with structlog.contextvars.bound_contextvars(**{kind: value}):
        yield value
