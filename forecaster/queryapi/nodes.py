"""What a query says, as a tree: checked by the parser, trusted by everyone after. Times are in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

from cloudpulse.matcher import Matcher


@dataclass(frozen=True)
class Number:
    """A literal."""

    value: float


@dataclass(frozen=True)
class Text:
    """A string literal."""

    value: str


@dataclass(frozen=True)
class Shift:
    """When is looked, against the time of evaluation: `at` (a Unix time, or `start` or `end`), then `offset` back."""

    offset: int = 0
    at: int | str | None = None


@dataclass(frozen=True)
class Selector:
    """`name{a="b"} offset 5m @ end()`."""

    matchers: tuple[Matcher, ...]
    shift: Shift


@dataclass(frozen=True)
class Range:
    """`selector[5m]`."""

    selector: Selector
    length: int


@dataclass(frozen=True)
class Subquery:
    """`inner[1h:1m]`; `step` None: that of the server."""

    inner: Node
    length: int
    step: int | None
    shift: Shift


@dataclass(frozen=True)
class Call:
    """`function(arguments)`."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Aggregate:
    """`sum by (labels) (inner)`; `parameter` is that of topk, bottomk and quantile."""

    operator: str
    inner: Node
    parameter: Node | None
    labels: frozenset[str]
    without: bool


@dataclass(frozen=True)
class Matching:
    """How two vectors find together: `on (labels)` or `ignoring (labels)`, and whose side may have many.

    `many` is "left" for group_left, "right" for group_right, else empty; `taken` are the labels in its parentheses.
    """

    labels: frozenset[str] = frozenset()
    on: bool = False
    many: str = ""
    taken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Binary:
    """`left operator right`."""

    operator: str
    left: Node
    right: Node
    matching: Matching
    as_bool: bool


@dataclass(frozen=True)
class Negation:
    """`-inner`."""

    inner: Node


Node = Number | Text | Selector | Range | Subquery | Call | Aggregate | Binary | Negation
