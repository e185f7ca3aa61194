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
_REMEMBERED = 4096
"""Samples of our own families: up to so many the fixed text of a page is kept for the next one. A host has fewer."""
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
    page = Page(form)
    for family in families:
        page.add(family)
    return page.encoded()


class Page:
    """A page in the making."""

    def __init__(self, form: Format = TEXT) -> None:
        self._form = form
        self._texts: list[str] = []
        self._columns: list[Family] = []  # written together: what is done once a family costs more than its samples

    def add(self, family: Family | ForeignFamily | Metric) -> None:
        """One more family; one that can't be written raises whatever it does, and leaves nothing behind."""
        if isinstance(family, Family):
            self._columns.append(family)
            return
        if isinstance(family, ForeignFamily):
            texts = _foreign(family, self._form)
        else:
            texts = _openmetrics(family) if self._form.openmetrics else _text(family)
        self._write_columns()
        self._texts += texts

    def encoded(self) -> bytes:
        """The page as bytes."""
        self._write_columns()
        return ("".join(self._texts) + ("# EOF\n" if self._form.openmetrics else "")).encode("utf-8", "replace")

    def _write_columns(self) -> None:
        families, self._columns = self._columns, []
        values = array("d")
        for family in families:
            values += family.values
        texts = _texts(values)
        if len(texts) > _REMEMBERED or "NaN" in texts:
            for family in families:
                self._texts += _lines(family, self._form)
            return
        between = _between(
            tuple((f.name, f.sample_name, f.documentation, f.type, tuple(f.blocks)) for f in families),
            self._form.openmetrics,
        )
        page = list(between)
        page[1::2] = texts
        self._texts += page


@lru_cache(maxsize=8)
def _between(columns: tuple[tuple[str, str, str, str, tuple[str, ...]], ...], openmetrics: bool) -> tuple[str, ...]:
    """What stands before, between and behind the values, with room for them: the same from scrape to scrape."""
    found, text = [], ""
    for name, sample, documentation, kind, blocks in columns:
        shown = _metric_name(sample)
        text += _openmetrics_header(name, documentation, kind) if openmetrics else _header(shown, documentation, kind)
        for block in blocks:
            found += [f"{text}{shown}{block} ", ""]
            text = "\n"
    return *found, text


def _lines(family: Family, form: Format) -> list[str]:
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
