"""The exposition formats, fast: metric families in, bytes out.

Text 0.0.4 and 1.0.0 say what prometheus_client's `generate_latest` says, OpenMetrics 1.0.0 what its OpenMetrics one
does; both without `_created` samples and exemplars, and both write our own `Family`.
Sources: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format,
https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from cloudpulse.families import Family, ForeignFamily, label_block
from cloudpulse.negotiation import TEXT, Format

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.samples import Sample

_KINDS = {"info": "gauge", "stateset": "gauge", "gaugehistogram": "histogram", "unknown": "untyped"}
_SUFFIXES = {"counter": "_total", "info": "_info"}
_APART = ("_gcount", "_gsum")
"""Samples that the text formats only know as gauges of their own."""
_UNITS = frozenset({"seconds", "bytes", "hertz", "ratio", "celsius", "volts", "amperes", "watts", "joules"})
"""Base units, as the ends of names say them: https://prometheus.io/docs/practices/naming/#base-units."""
_OUTSIDE_METRIC_NAME = re.compile(r"^[^a-zA-Z_:]|[^a-zA-Z0-9_:]")


def encode(families: Iterable[Family | ForeignFamily | Metric], form: Format = TEXT) -> bytes:
    """The page. Samples keep their order; `_created` samples are left out.

    Characters that a name can't have become underscores, and text that isn't Unicode (a file name in another
    encoding) question marks: one odd label must not cost the whole page.
    """
    return page((line for family in families for line in lines(family, form)), form)


def page(lines: Iterable[str], form: Format) -> bytes:
    """The lines of all families as bytes."""
    return ("".join(lines) + ("# EOF\n" if form.openmetrics else "")).encode("utf-8", "replace")


def lines(family: Family | ForeignFamily | Metric, form: Format) -> list[str]:
    """One family."""
    if isinstance(family, Family):
        return _columns(family, form)
    if isinstance(family, ForeignFamily):
        return _foreign(family, form)
    return _openmetrics(family) if form.openmetrics else _text(family)


def _columns(family: Family, form: Format) -> list[str]:
    name = _metric_name(family.sample_name)
    pairs = zip(family.blocks, _texts(family.values), strict=True)
    samples = [f"{name}{block} {text}\n" for block, text in pairs if text != "NaN"]
    if form.openmetrics:
        return [_openmetrics_header(_metric_name(family.name), family.documentation, family.type), *samples]
    return [_header(name, family.documentation, family.type), *samples]


def _foreign(family: ForeignFamily, form: Format) -> list[str]:
    texts = _texts(array("d", [sample.value for sample in family.samples]))
    lines = [f"{name}{block} {text}\n" for (name, block, _), text in zip(family.samples, texts, strict=True)]
    if form.openmetrics:
        return [_openmetrics_text(family.name, family.documentation, family.type), *lines]
    name = family.name + _SUFFIXES.get(family.type, "")
    return [_header_text(name, family.documentation, _KINDS.get(family.type, family.type)), *lines]


def _openmetrics(family: Metric) -> list[str]:
    return [
        _openmetrics_header(_metric_name(family.name), family.documentation, family.type),
        *(line for _, line in _samples(family, 1)),
    ]


def _text(family: Metric) -> list[str]:
    name = _metric_name(family.name + _SUFFIXES.get(family.type, ""))
    found = [_header(name, family.documentation, _KINDS.get(family.type, family.type))]
    apart: dict[str, list[str]] = {}
    special = {family.name + suffix for suffix in _APART}
    for sample, line in _samples(family, 1000):
        (apart.setdefault(sample, []) if sample in special else found).append(line)
    for sample in sorted(apart):
        found += [_header(_metric_name(sample), family.documentation, "gauge"), *apart[sample]]
    return found


def _samples(family: Metric, ticks: int) -> Iterator[tuple[str, str]]:
    """Name and line of each sample; times are written in `ticks` a second."""
    everything: Sequence[Sample] = family.samples
    samples = [sample for sample in everything if sample.name != family.name + "_created"]
    for sample, text in zip(samples, _texts(array("d", [sample.value for sample in samples])), strict=True):
        if sample.timestamp is not None:
            at = float(sample.timestamp)
            text = f"{text} {at if ticks == 1 else int(at * ticks)}"
        yield sample.name, f"{_metric_name(sample.name)}{label_block(sample.labels)} {text}\n"


# Not kept: what others write is as long as they like, and another the next time.
def _header_text(name: str, documentation: str, kind: str) -> str:
    return f"# HELP {name} {_escaped(documentation)}\n# TYPE {name} {kind}\n"


def _openmetrics_text(name: str, documentation: str, kind: str) -> str:
    unit = name.rpartition("_")[2]
    text = _escaped(documentation).replace('"', r"\"")
    told = f"# UNIT {name} {unit}\n" if unit in _UNITS and kind not in ("info", "stateset") else ""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{told}"


_header = lru_cache(maxsize=1024)(_header_text)
_openmetrics_header = lru_cache(maxsize=1024)(_openmetrics_text)


def _escaped(documentation: str) -> str:
    return documentation.replace("\\", r"\\").replace("\n", r"\n")


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


@lru_cache(maxsize=1024)
def _metric_name(name: str) -> str:
    return _OUTSIDE_METRIC_NAME.sub("_", name)
