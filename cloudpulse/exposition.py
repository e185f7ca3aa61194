"""The text exposition format 0.0.4, fast: prometheus_client's families in, bytes out.

Says what prometheus_client's `generate_latest` says, without its `_created` families; `ColumnFamily` is for
families of very many series.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from prometheus_client.core import Metric
from prometheus_client.parser import parse_labels
from prometheus_client.samples import Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_KINDS = {"info": "gauge", "stateset": "gauge", "gaugehistogram": "histogram", "unknown": "untyped"}
_SUFFIXES = {"counter": "_total", "info": "_info"}
_APART = ("_gcount", "_gsum")
"""Samples that this format only knows as gauges of their own."""
_OUTSIDE_METRIC_NAME = re.compile(r"^[^a-zA-Z_:]|[^a-zA-Z0-9_:]")
_OUTSIDE_LABEL_NAME = re.compile(r"^[^a-zA-Z_]|[^a-zA-Z0-9_]")


class ColumnFamily(Metric):
    """A gauge or counter family as two columns: label blocks rendered beforehand, and their values.

    Rendering the labels is most of an exposition's cost, and they seldom change: make each block once with
    `label_block`, keep it, and give only new values at each scrape. A NaN value leaves its series out: absent beats
    wrong. `samples` offers the same as ordinary samples, built anew at each access.
    """

    def __init__(
        self, name: str, documentation: str, blocks: Sequence[str], values: Iterable[float], kind: str = "gauge"
    ) -> None:
        """`values[i]` belongs to `blocks[i]`; a counter's `name` may end in `_total`. Raises ValueError."""
        if kind not in ("gauge", "counter"):
            raise ValueError(f'{name}: expected the kind gauge or counter, got "{kind}"')
        super().__init__(name.removesuffix("_total") if kind == "counter" else name, documentation, kind)
        self.sample_name = self.name + _SUFFIXES.get(kind, "")
        self.blocks = blocks
        # Plain doubles whatever came in; numpy's scalars would print as np.float64(…).
        self.values = array("d", values)
        if len(blocks) != len(self.values):
            raise ValueError(f"{name}: {len(blocks)} label blocks for {len(self.values)} values")

    @property
    def samples(self) -> list[Sample]:
        """The series that have a value, as prometheus_client has them."""
        pairs = zip(self.blocks, self.values, strict=True)
        return [Sample(self.sample_name, parse_labels(b[1:-1]), v) for b, v in pairs if not math.isnan(v)]

    @samples.setter
    def samples(self, samples: list[Sample]) -> None:
        if samples:  # Metric.__init__ sets an empty list
            raise AttributeError("a ColumnFamily takes its samples as columns")


def label_block(labels: Mapping[str, str]) -> str:
    """Labels as they stand in a line, `{a="1",b="2"}`, escaped; nothing for no labels."""
    return _block(_template(tuple(labels)), labels) if labels else ""


def encode(families: Iterable[Metric]) -> bytes:
    """The page. Samples keep their order; `_created` samples are left out.

    Characters that a name can't have become underscores, and text that isn't Unicode (a file name in another
    encoding) question marks: one odd label must not cost the whole page.
    """
    lines: list[str] = []
    templates: dict[tuple[str, ...], str] = {(): ""}
    for family in families:
        if isinstance(family, ColumnFamily):
            lines += _columns(family)
        else:
            lines += _family(family, templates)
    return "".join(lines).encode("utf-8", "replace")


def _columns(family: ColumnFamily) -> list[str]:
    name = _metric_name(family.sample_name)
    pairs = zip(family.blocks, _texts(family.values), strict=True)
    lines = [f"{name}{block} {text}\n" for block, text in pairs if text != "NaN"]
    return [_header(name, family.documentation, family.type), *lines]


def _family(family: Metric, templates: dict[tuple[str, ...], str]) -> list[str]:
    name = family.name + _SUFFIXES.get(family.type, "")
    lines = [_header(_metric_name(name), family.documentation, _KINDS.get(family.type, family.type))]
    apart: dict[str, list[str]] = {}
    samples, created = family.samples, family.name + "_created"
    names = {name: _metric_name(name) for name in {sample.name for sample in samples}}
    special = {family.name + suffix for suffix in _APART}
    for sample, text in zip(samples, _texts(array("d", [sample.value for sample in samples])), strict=True):
        keys = tuple(sample.labels)
        template = templates.get(keys)
        if template is None:
            template = templates[keys] = _template(keys)
        block = _block(template, sample.labels) if keys else ""
        if sample.timestamp is not None:
            text = f"{text} {int(float(sample.timestamp) * 1000)}"
        line = f"{names[sample.name]}{block} {text}\n"
        if sample.name in special:
            apart.setdefault(sample.name, []).append(line)
        elif sample.name != created:
            lines.append(line)
    for part in sorted(apart):
        lines += [_header(names[part], family.documentation, "gauge"), *apart[part]]
    return lines


def _header(name: str, documentation: str, kind: str) -> str:
    text = documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _texts(values: array[float]) -> list[str]:
    """Each value's shortest exact text. msgspec writes them in one call, at a fifth of `repr`'s time."""
    if not values:
        return []
    texts = msgspec.json.encode(values.tolist())[1:-1].decode().split(",")
    if "null" in texts:  # JSON has neither NaN nor infinities
        return [_not_finite(value) if text == "null" else text for text, value in zip(texts, values, strict=True)]
    return texts


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _template(keys: tuple[str, ...]) -> str:
    return "{" + ",".join(f'{_OUTSIDE_LABEL_NAME.sub("_", key)}="%s"' for key in keys) + "}"


def _block(template: str, labels: Mapping[str, str]) -> str:
    block = template % tuple(labels.values())
    # Few labels need escaping, and three looks at the whole block find them out.
    if block.count('"') == 2 * len(labels) and "\\" not in block and "\n" not in block:
        return block
    return template % tuple(map(_escaped, labels.values()))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _metric_name(name: str) -> str:
    return _OUTSIDE_METRIC_NAME.sub("_", name)
