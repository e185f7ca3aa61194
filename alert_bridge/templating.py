"""Templates: Jinja2 in its sandbox, escaped for a channel and bounded in work and output.

Source: https://jinja.palletsprojects.com/en/stable/sandbox/. Templates come from this package and from the config,
never from an alert. The bounds keep a mistake in the config from stopping the bridge: they count the turns of all
loops together, since the sandbox only limits a single `range`, and refuse what makes a long text of a short one.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from alert_bridge.channels import CHANNELS, Channel, Name, clean, finalizer, web_url
from alert_bridge.variables import NAMES
from cloudpulse.config import Section

MOST_TURNS = 20_000
MOST_CHARACTERS = 200_000
# fmt: off
_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby", "int", "items", "join",
    "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round",
    "select", "selectattr", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper", "wordcount",
)
# fmt: on
_WIDE = re.compile(r"\d{4}|\*|\{[^}]*\{")  # a width written, given as an argument, or in nested braces
_OTHERS = (jinja2.nodes.Include, jinja2.nodes.Import, jinja2.nodes.FromImport, jinja2.nodes.Extends)
_TURNS: ContextVar[Iterator[int]] = ContextVar("turns")


class TooMuch(jinja2.TemplateError):
    """A template that does more than any message needs."""


class Templates(Section, frozen=True):
    """A receiver's own wording, in Jinja2; what is left out is worded as by default.

    Both see the `Variables` of `alert_bridge/variables.py`, the filters `link` (`url | link("text")`, nothing
    unless it is http or https) and `strong`, and those of Jinja2 that neither fetch nor unescape.
    """

    title: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        for key in ("title", "text"):
            source = getattr(self, key)
            if source is None:
                continue
            try:
                environment = sandbox("plain")
                parsed = environment.parse(source)
                unknown = sorted(jinja2.meta.find_undeclared_variables(parsed) - NAMES - set(environment.globals))
                elsewhere = next(parsed.find_all(_OTHERS), None)
                environment.from_string(source)
            except jinja2.TemplateSyntaxError as error:
                raise ValueError(f"{key}: not a Jinja2 template: {error.message} (line {error.lineno})") from None
            except (jinja2.TemplateError, RecursionError) as error:
                raise ValueError(f"{key}: not a usable Jinja2 template: {type(error).__name__}") from None
            if elsewhere is not None:
                raise ValueError(f"{key}: line {elsewhere.lineno}: there is no other template to take in")
            if unknown:
                known = ", ".join(sorted(NAMES))
                raise ValueError(f'{key}: no variable is named "{unknown[0]}", expected one of {known}')


@functools.cache
def sandbox(channel: Name, *, strict: bool = False) -> ImmutableSandboxedEnvironment:
    """Where templates for a channel are compiled; `strict` makes a missing label an error instead of nothing."""
    return _Sandbox(CHANNELS[channel], jinja2.StrictUndefined if strict else jinja2.Undefined)


@functools.cache
def own(channel: Name, name: str) -> jinja2.Template:
    """A template of this package."""
    source = (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
    return sandbox(channel, strict=True).from_string(source)


def render(template: jinja2.Template, variables: Mapping[str, object]) -> str:
    """The text; raises TemplateError, or what an expression raised (ValueError, TypeError, ZeroDivisionError...)."""
    token = _TURNS.set(itertools.count(1))
    try:
        length, parts = 0, []
        for part in template.generate(variables):
            length += len(part)
            _check_length(length)
            parts.append(part)
        return "".join(parts)
    finally:
        _TURNS.reset(token)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, channel: Channel, undefined: type[jinja2.Undefined]) -> None:
        finalize = finalizer(channel)
        super().__init__(
            undefined=undefined,
            autoescape=True,  # so that what `finalize` has escaped stays as it is, also through macros and blocks
            finalize=finalize,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.filters = {name: self.filters[name] for name in _FILTERS} | {
            "concatenated": functools.partial(_concatenated, finalize),
            "counted": _counted,
            "format": lambda text, *values: self.call_binop(None, "%", str(text), values),
            "replace": _replaced,
            "link": functools.partial(_link, channel),
            "strong": lambda text: Markup(channel.strong(clean(str(text)))),  # noqa: S704  escaped by the channel
        }
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace", "joiner", "cycler")}

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        parsed: jinja2.nodes.Template = _Bound().visit(super()._parse(source, name, filename))
        return parsed

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        """Not what pads a text to any width, beside what Jinja2 holds for unsafe."""
        padding = isinstance(obj, str) and attr in (
            "center",
            "ljust",
            "rjust",
            "zfill",
            "expandtabs",
            "format",
            "format_map",
        )
        return not padding and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: jinja2.runtime.Context | None, operator: str, left: Any, right: Any) -> Any:
        """`+`, `*`, `**` and `%` of numbers; of others only what stays short."""
        if operator == "%" and isinstance(left, str):
            _check_format(left)
        elif operator == "+" and not isinstance(left, int | float):
            _check_length(len(left) + len(right))
        elif not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TooMuch(f"{operator} is for numbers")
        elif operator == "**" and (abs(left) > 1_000_000 or abs(right) > 100):
            raise TooMuch("** is for numbers of moderate size")
        return self.binop_table[operator](left, right)

    def wrap_str_format(self, value: object) -> None:
        """Nothing: `format` of a text is refused as the other ways to pad are; the filter does it."""


class _Bound(NodeTransformer):
    """Makes every loop count its turns, and every `~` its characters."""

    def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.For:  # noqa: N802  jinja2 calls it so
        self.generic_visit(node)
        node.iter = jinja2.nodes.Filter(node.iter, "counted", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Filter:  # noqa: N802  as above
        self.generic_visit(node)
        parts = jinja2.nodes.List(node.nodes, lineno=node.lineno)
        return jinja2.nodes.Filter(parts, "concatenated", [], [], None, None, lineno=node.lineno)


def _counted(items: Iterable[object]) -> Iterator[object]:
    turns = _TURNS.get()
    for item in items:
        if next(turns) > MOST_TURNS:
            raise TooMuch(f"more than {MOST_TURNS} turns of loops")
        yield item


def _concatenated(finalize: Callable[[object], object], parts: Sequence[object]) -> str:
    """A text, or markup where one of the parts is and with the others escaped."""
    _check_length(sum(len(part) if isinstance(part, str) else 20 for part in parts))
    if any(isinstance(part, Markup) for part in parts):
        return Markup().join(finalize(part) for part in parts)
    return "".join(map(str, parts))


def _replaced(text: object, old: str, new: str) -> str:
    plain = str(text)
    _check_length(len(plain) + plain.count(old) * len(new))
    return plain.replace(old, new)


def _link(channel: Channel, url: object, text: str = "link") -> Markup:
    return Markup(channel.link(found, clean(str(text)))) if (found := web_url(str(url))) else Markup()  # noqa: S704  as above


def _check_length(length: int) -> None:
    if length > MOST_CHARACTERS:
        raise TooMuch(f"more than {MOST_CHARACTERS} characters")


def _check_format(text: str) -> None:
    if _WIDE.search(text):
        raise TooMuch("a width of four digits or more")
