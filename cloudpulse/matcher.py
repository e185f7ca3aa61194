"""One condition on a label, as PromQL and Alertmanager have them; its regular expressions are RE2's, as in Go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import re2

_PLAIN_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_ANY_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")


@dataclass(frozen=True)
class Matcher:
    """One condition on a label; a label that isn't there counts as empty.

    Regular expressions are RE2's, as in Go, take linear time, and must match the whole value. Raises ValueError for
    one that can't be read. Its `str` reads back as the same.
    """

    name: str
    operator: str
    value: str
    _pattern: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if self.operator in ("=~", "!~"):
            object.__setattr__(self, "_pattern", compiled(self.value))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a set of labels fulfils it."""
        value = labels.get(self.name, "")
        fits = value == self.value if self._pattern is None else self._pattern.search(value) is not None
        return fits == (self.operator[0] == "=")

    def __str__(self) -> str:
        name = self.name if _PLAIN_NAME.fullmatch(self.name) else _quote(self.name)
        return f"{name}{self.operator}{_quote(self.value)}"


def compiled(expression: str) -> Any:
    """RE2's pattern that the whole of a text must match. Raises ValueError."""
    if _ANY_BYTE.search(expression):
        raise ValueError(r"\C is not known to Go's regular expressions")
    options = re2.Options()
    options.log_errors = False  # to stderr, past our own log
    try:
        return re2.compile(f"^(?:{expression})$", options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it can't be read"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"not a regular expression as Go has them: {text}") from None


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
