"""A metric family as two columns: label blocks rendered beforehand, and their values.

What the exporter and the forecaster collect. prometheus_client's own families take a dictionary a sample and render
each label anew at every scrape, which is most of an exposition's cost; and importing them costs 10 MiB.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

    from cloudpulse.names import Definition

Row = tuple[tuple[str, ...], float | None]
"""The values of the definition's labels, in its order, and the sample's value."""

_FEW = 256
_OUTSIDE_LABEL_NAME = re.compile(r"^[^a-zA-Z_]|[^a-zA-Z0-9_]")


class Family:
    """A gauge or counter: `values[i]` belongs to `blocks[i]`, as `label_block` makes it.

    A NaN value leaves its series out: absent beats wrong. `name`, `documentation`, `type`, `unit` and `samples` are
    what prometheus_client's families have, so that its registry takes these, too.
    """

    __slots__ = ("blocks", "documentation", "name", "sample_name", "type", "values")

    unit = ""

    def __init__(
        self, name: str, documentation: str, blocks: Sequence[str], values: Iterable[float], kind: str = "gauge"
    ) -> None:
        """A counter's `name` may end in `_total`. Raises ValueError."""
        self.name, self.sample_name = _names(name, kind)
        self.documentation = documentation
        self.type = kind
        self.blocks = blocks
        # Plain doubles whatever came in; numpy's scalars would print as np.float64(…).
        self.values = array("d", values)
        if len(blocks) != len(self.values):
            raise ValueError(f"{name}: {len(blocks)} label blocks for {len(self.values)} values")

    @property
    def samples(self) -> list[Sample]:
        """The series that have a value, as prometheus_client has them; built anew at each access."""
        # Imported here: whoever writes the columns themselves does without the package.
        from prometheus_client.parser import parse_labels
        from prometheus_client.samples import Sample

        pairs = zip(self.blocks, self.values, strict=True)
        return [Sample(self.sample_name, parse_labels(b[1:-1]), v) for b, v in pairs if not math.isnan(v)]


@lru_cache(maxsize=1024)
def _names(name: str, kind: str) -> tuple[str, str]:
    """Of the family, and of its samples."""
    if kind not in ("gauge", "counter"):
        raise ValueError(f'{name}: expected the kind gauge or counter, got "{kind}"')
    family = name.removesuffix("_total") if kind == "counter" else name
    return family, f"{family}_total" if kind == "counter" else name


class ForeignSample(NamedTuple):
    """A line of another program: the sample's name, its labels as `label_block` makes them, its value (NaN is one)."""

    name: str
    block: str
    value: float


class ForeignFamily:
    """A family that another program wrote, of any type: samples of several names.

    A counter's `name` is without `_total`; where its samples are, too, it can only be shown as of type `unknown`.
    """

    __slots__ = ("documentation", "name", "samples", "type")

    def __init__(self, name: str, documentation: str, kind: str, samples: Sequence[ForeignSample]) -> None:
        self.name = name
        self.documentation = documentation
        self.type = kind
        self.samples = samples


def many(definition: Definition, rows: Iterable[Row]) -> Family:
    """A family of several samples; a value of None is left out."""
    kept = [row for row in rows if row[1] is not None]
    if not kept:
        return columns(definition, (), ())
    labels, values = zip(*kept, strict=True)
    return columns(definition, label_blocks(definition.labels, labels), values)


def one(definition: Definition, value: float) -> Family:
    """A family of one sample without labels."""
    return columns(definition, ("",), (value,))


def columns(definition: Definition, blocks: Sequence[str], values: Iterable[float]) -> Family:
    """A family whose label blocks the caller keeps, made with `label_block`."""
    return Family(definition.name, definition.help, blocks, values, definition.kind)


def label_block(labels: Mapping[str, str]) -> str:
    """Labels as they stand in a line, `{a="1",b="2"}`, escaped; nothing for no labels.

    Characters that a label's name can't have become underscores.
    """
    return _block(tuple(labels), tuple(labels.values()))


def label_blocks(names: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> Sequence[str]:
    """The label blocks of several samples. Those of a few come back at every scrape, and are kept together."""
    return _kept_blocks(names, rows) if len(rows) <= _FEW else [_kept_block(names, row) for row in rows]


def _block(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    template = _template(names)
    block = template % values
    # Few labels need escaping, and three looks at the whole block find them out.
    if block.count('"') == 2 * len(names) and "\\" not in block and "\n" not in block:
        return block
    return template % tuple(map(_escaped, values))


# The same devices and CPUs come back at every scrape. Bounded, since some labels don't: processes, containers.
_kept_block = lru_cache(maxsize=4096)(_block)


@lru_cache(maxsize=64)
def _kept_blocks(names: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple([_kept_block(names, row) for row in rows])


@lru_cache(maxsize=1024)
def _template(names: tuple[str, ...]) -> str:
    return "{" + ",".join(f'{_OUTSIDE_LABEL_NAME.sub("_", name)}="%s"' for name in names) + "}" if names else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
