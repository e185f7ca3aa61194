"""Kubernetes label selectors over the labels of series: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

Grammar: apimachinery `pkg/labels/selector.go`; `<` and `>` of node affinity are not part of the HPA's selectors and
are refused. Prometheus knows no empty label, so that an empty value and a missing label are the same here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

_TOKEN = re.compile(r"\s*(==|!=|[=!(),]|[^\s=!(),<>]+)")
_SYMBOLS = frozenset({"=", "==", "!=", "!", "(", ")", ","})
_UNUSUAL = re.compile(r"[^A-Za-z0-9_]")


class Operator(Enum):
    """What a requirement asks of a label; `=` is IN and `!=` is NOT_IN with one value."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"


@dataclass(frozen=True)
class Requirement:
    """One condition on one label; `values` only for IN and NOT_IN."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with `labels` fulfils it."""
        value = value_of(labels, self.key)
        if self.operator is Operator.IN:
            return value in self.values
        if self.operator is Operator.NOT_IN:
            return value not in self.values
        return (value != "") is (self.operator is Operator.EXISTS)

    def __str__(self) -> str:
        if self.operator is Operator.EXISTS:
            return self.key
        if self.operator is Operator.ABSENT:
            return f"!{self.key}"
        if len(self.values) == 1:
            (value,) = self.values
            return f"{self.key}{'=' if self.operator is Operator.IN else '!='}{value}"
        return f"{self.key} {self.operator.value} ({','.join(sorted(self.values))})"


@dataclass(frozen=True)
class Selector:
    """Requirements that must all be fulfilled; none selects everything. `str` gives the text back."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with `labels` is selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING = Selector()


def value_of(labels: Mapping[str, str], key: str) -> str:
    """The value of a Kubernetes label among a series' labels, "" without it.

    A key that is no classic Prometheus label is also looked for with `_` for each such character, as Prometheus'
    service discovery writes it: `app.kubernetes.io/name` is `app_kubernetes_io_name`.
    """
    found = labels.get(key)
    return found if found is not None else labels.get(_UNUSUAL.sub("_", key), "")


def carries(names: Collection[str], key: str) -> bool:
    """Whether a Kubernetes label is among the names of labels, in either form of `value_of`."""
    return key in names or _UNUSUAL.sub("_", key) in names


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Selector:
    """Read a selector; raises ValueError that shows the place."""
    tokens = _Tokens(text)
    if tokens.peek() is None:
        return EVERYTHING
    requirements = [_requirement(tokens)]
    while tokens.peek() is not None:
        tokens.expect(",")
        requirements.append(_requirement(tokens))
    return Selector(tuple(requirements))


def _requirement(tokens: _Tokens) -> Requirement:
    if tokens.peek() == "!":
        tokens.take()
        return Requirement(tokens.word("a label name"), Operator.ABSENT)
    key = tokens.word("a label name")
    if tokens.peek() in (None, ","):
        return Requirement(key, Operator.EXISTS)
    operator = tokens.take()
    if operator in ("=", "=="):
        return Requirement(key, Operator.IN, frozenset({tokens.value()}))
    if operator == "!=":
        return Requirement(key, Operator.NOT_IN, frozenset({tokens.value()}))
    if operator in ("in", "notin"):
        return Requirement(key, Operator(operator), _values(tokens))
    raise tokens.error("one of =, ==, !=, in, notin", operator)


def _values(tokens: _Tokens) -> frozenset[str]:
    tokens.expect("(")
    if tokens.peek() == ")":
        raise tokens.error("at least one value", ")")
    values = [tokens.value()]
    while tokens.peek() == ",":
        tokens.take()
        values.append(tokens.value())
    tokens.expect(")")
    return frozenset(values)


class _Tokens:
    """The words and symbols of a selector, one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        self._next = 0
        end = len(text.rstrip())
        position = 0
        while position < end:
            match = _TOKEN.match(text, position, end)
            if match is None:
                raise self.error("a label selector", text[position:end].lstrip()[:1])
            self._tokens.append(match[1])
            position = match.end()

    def peek(self) -> str | None:
        """The next token; None at the end."""
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def take(self) -> str:
        """The next token, consumed; "" at the end."""
        token = self.peek() or ""
        self._next += 1
        return token

    def expect(self, symbol: str) -> None:
        """Consume `symbol`."""
        if (token := self.take()) != symbol:
            raise self.error(symbol, token)

    def word(self, what: str) -> str:
        """Consume a label name."""
        token = self.take()
        if not token or token in _SYMBOLS:
            raise self.error(what, token)
        return token

    def value(self) -> str:
        """Consume a value, which may be empty."""
        if self.peek() in (None, ",", ")"):
            return ""
        return self.word("a value")

    def error(self, expected: str, found: str) -> ValueError:
        """What to raise."""
        return ValueError(f'label selector "{self._text}": expected {expected}, found "{found}"')
