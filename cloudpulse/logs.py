"""Structured logs on stderr, as text or JSON lines; each line has the id of the request or round that it is part of.

log = logs.get(__name__)
log.info("predicted", forecast="web_rps", series=8)

Values are data: what isn't JSON becomes its `str`, and neither a line end nor a terminal's control character leaves a
value as such. Tracebacks show no local variables, and with them no secret that is in use. A line that can't be written,
since the disk is full or nobody reads stderr any more, is lost, and nothing else is.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from cloudpulse import trace

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

FIELDS = "cloudpulse_fields"
"""Attribute of a LogRecord: the fields of a line of ours; libraries' records have none."""

_CHATTY = ("urllib3", "cmdstanpy", "prophet", "kubernetes", "apprise", "matplotlib", "websockets", "opentelemetry")
_DEEPEST = 8
_LONGEST = 16_384
"""Characters of a value or a traceback, of which more loses its middle: journald and Docker split longer lines."""
_LARGEST = 2**64
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class Logger:
    """Logs events with fields. Raises nothing.

    `exc_info` adds the traceback of the exception being handled, if True, or of the one that it is.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, *, exc_info: object = False, **fields: object) -> None:
        """For who looks for a fault; costs a dictionary look-up where it is off."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self._log(logging.DEBUG, event, exc_info, fields)

    def info(self, event: str, /, *, exc_info: object = False, **fields: object) -> None:
        """What a service did."""
        if self._logger.isEnabledFor(logging.INFO):
            self._log(logging.INFO, event, exc_info, fields)

    def warning(self, event: str, /, *, exc_info: object = False, **fields: object) -> None:
        """What it could do without."""
        if self._logger.isEnabledFor(logging.WARNING):
            self._log(logging.WARNING, event, exc_info, fields)

    def error(self, event: str, /, *, exc_info: object = False, **fields: object) -> None:
        """What it could not do."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._log(logging.ERROR, event, exc_info, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """An error, with the traceback of the exception being handled."""
        self.error(event, exc_info=True, **fields)

    def _log(self, level: int, event: str, failure: object, fields: Mapping[str, object]) -> None:
        # Without the look for file and line that Logger.log makes: an event is found by its words.
        record = logging.LogRecord(self._logger.name, level, "", 0, event, (), _exc_info(failure))
        setattr(record, FIELDS, fields)
        self._logger.handle(record)


def get(name: str) -> Logger:
    """The logger of a module."""
    return Logger(logging.getLogger(name))


def configure(level: str = "info", output_format: str = "text") -> None:
    """Set up logging for the process; libraries' own log records take the same way out."""
    handler = _Stderr(sys.stderr)
    handler.setFormatter(_Json() if output_format == "json" else _Text(_coloured(sys.stderr)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))


def capture() -> None:
    """For the rest of the process: Python's warnings, and what ends it or a thread, take the same way out, too."""
    logging.captureWarnings(True)
    sys.excepthook = _process_ended
    threading.excepthook = _thread_ended


def configured() -> tuple[str, str]:
    """Level and format, for `configure` in another process."""
    root = logging.getLogger()
    json_lines = any(isinstance(handler.formatter, _Json) for handler in root.handlers)
    return logging.getLevelName(root.level).lower(), "json" if json_lines else "text"


def facts(record: logging.LogRecord) -> dict[str, object]:
    """A line's names and values, JSON-able, in the order that people read them; a field takes no other's place."""
    found: dict[str, object] = {
        "timestamp": timestamp(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": _cut(_message(record)),
    }
    if identifier := trace.identifier():
        found["trace_id"] = identifier
    for name, value in getattr(record, FIELDS, {}).items():
        found.setdefault(name, _short(plain(value)))
    return found


def plain(value: object, depth: int = 0) -> object:
    """The value as JSON has it; what JSON has not, NaN and infinities too, as text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int) and abs(value) < _LARGEST:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(name): plain(one, depth + 1) for name, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [plain(one, depth + 1) for one in value]
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a line about a broken thing is still a line
        return f"<{type(value).__name__}>"


def timestamp(seconds: float) -> str:
    """Unix seconds as UTC, to the microsecond."""
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{micros:06d}Z"


def printable(text: str) -> str:
    """The text with what a terminal or a reader of lines could obey written as an escape, such as `\\n` or `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def printable_text(text: str) -> str:
    """For an answer on a terminal: each line of the text as `printable` has it."""
    return "\n".join(map(printable, text.split("\n")))


class _Stderr(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Where the log can't be written there is nowhere to say so."""


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        found = facts(record)
        if record.exc_info:
            found["exception"] = _cut(self.formatException(record.exc_info))
        return json.dumps(found, default=str)  # ASCII, so that no character is a terminal's


class _Text(logging.Formatter):
    def __init__(self, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        found = facts(record)
        moment, level, logger, event = (
            printable(str(found.pop(name))) for name in ("timestamp", "level", "logger", "event")
        )
        shown = f"{level:<7}"
        if self._coloured and level in _COLOURS:
            shown = f"{_COLOURS[level]}{shown}\x1b[0m"
        fields = [f"{name}={_word(value)}" for name, value in found.items()]
        line = " ".join([moment, shown, event, *fields, f"[{logger}]"])
        if record.exc_info:
            # Indented, since an exception's own text may look like a line of the log.
            told = _cut(self.formatException(record.exc_info)).splitlines()
            line = "\n    ".join([line, *(printable(one) for one in told)])
        return line


def _word(value: object) -> str:
    """A value as one word: quoted where it is empty or has a space, a quote or a character that isn't printable."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if text and text.isprintable() and not isinstance(value, str):
        return text
    if text and text.isprintable() and not any(one in ' "\\=' for one in text):
        return text
    return printable(json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  a library's own mistake, such as %d for a text
        return str(plain(record.msg))


def _short(value: object) -> object:
    """The value, or where its JSON is long a text of it that isn't."""
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, dict | list):
        text = json.dumps(value, ensure_ascii=False)
        return value if len(text) <= _LONGEST else _cut(text)
    return value


def _cut(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters are left out … {text[-half:]}"


def _process_ended(kind: type[BaseException], error: BaseException, trace_back: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace_back)
    else:
        get(__name__).error("the process ends: this is a bug", exc_info=error)


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if not issubclass(ended.exc_type, SystemExit):
        name = ended.thread.name if ended.thread is not None else ""
        get(__name__).error("a thread ended: this is a bug", thread=name, exc_info=ended.exc_value)


def _exc_info(failure: object) -> _ExcInfo | None:
    if failure is True:
        failure = sys.exc_info()[1] or False
    return (type(failure), failure, failure.__traceback__) if isinstance(failure, BaseException) else None


def _coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")
