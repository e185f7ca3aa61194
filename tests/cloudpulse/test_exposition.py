"""The encoder against prometheus_client's own writer and parser."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cloudpulse.exposition import encode
from cloudpulse.families import Family, label_block

Parsed = list[tuple[str, str, str, list[tuple[str, dict[str, str], str, float | None]]]]

# Surrogates are no Unicode text. Reserved label names aren't for exporters.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", "\n", "\\n", '\\"', "a\\\nb", "{}", "},", '="', " # ", "\r", "\u2028", "%s", "é", "\x00"]
)
METRIC_NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
LABELS = st.dictionaries(st.from_regex(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True), TEXTS, max_size=4)
VALUES = st.floats() | st.integers(-(2**53), 2**53) | st.sampled_from([0.0, -0.0, 1e22, 5e-324, math.inf, -math.inf])
HELPS = TEXTS.map(str.strip)  # the parser strips; the format itself keeps blanks


class _Fixed:
    def __init__(self, families: Sequence[Family | Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family | Metric]:
        return self._families


def _reference(families: Sequence[Family | Metric]) -> str:
    registry = CollectorRegistry()
    registry.register(_Fixed(families))
    return generate_latest(registry).decode()


def _facts(families: Iterable[Family | Metric]) -> Parsed:
    """Families as comparable facts; values as text, since NaN equals nothing."""
    return [
        (f.name, f.documentation, f.type, [(s.name, s.labels, repr(float(s.value)), s.timestamp) for s in f.samples])
        for f in families
        if not f.name.endswith("_created")
    ]


def _parsed(page: str) -> Parsed:
    return _facts(text_string_to_metric_families(page))


def _text(*families: Family | Metric) -> str:
    return encode(families).decode()


@st.composite
def _families(draw: st.DrawFn) -> Metric:
    kind = draw(st.sampled_from(["gauge", "counter", "unknown", "summary", "histogram"]))
    family = Metric(draw(METRIC_NAMES), draw(HELPS), kind)
    suffixes = {"counter": ["_total"], "summary": ["", "_sum", "_count"], "histogram": ["_bucket", "_sum", "_count"]}
    for labels, value in draw(st.lists(st.tuples(LABELS, VALUES), max_size=5)):
        family.add_sample(family.name + draw(st.sampled_from(suffixes.get(kind, [""]))), labels, value)
    return family


@given(_families())
def test_what_is_parsed_is_what_went_in(family: Metric) -> None:
    assert _parsed(_text(family)) == _facts([family])


@given(_families())
def test_it_says_what_prometheus_client_says(family: Metric) -> None:
    assert _parsed(_text(family)) == _parsed(_reference([family]))


@given(METRIC_NAMES, HELPS, st.lists(st.tuples(LABELS, VALUES), max_size=6), st.sampled_from(["gauge", "counter"]))
def test_a_column_family_reads_as_its_samples_without_nan(
    name: str, documentation: str, rows: list[tuple[dict[str, str], float]], kind: str
) -> None:
    columns = Family(name, documentation, [label_block(labels) for labels, _ in rows], [v for _, v in rows], kind)
    ordinary = Metric(columns.name, documentation, kind)
    for labels, value in rows:
        if not math.isnan(value):
            ordinary.add_sample(columns.sample_name, labels, value)
    assert _facts([columns]) == _facts([ordinary])
    assert _text(columns) == _text(ordinary)
    assert _parsed(_reference([columns])) == _parsed(_text(columns))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_values_are_exact(value: float) -> None:
    text = _text(Family("a", "", [""], [value])).splitlines()[-1].removeprefix("a ")
    assert float(text) == value
    assert math.copysign(1, float(text)) == math.copysign(1, value)


def _registry() -> CollectorRegistry:
    """Every kind of metric that prometheus_client makes."""
    registry = CollectorRegistry()
    Counter("cloudpulse_first_seconds", "A counter.", ["mode"], registry=registry).labels("idle").inc(2.5)
    Gauge("cloudpulse_second_bytes", "A gauge.", registry=registry).set(math.inf)
    Histogram("cloudpulse_third_seconds", "A histogram.", registry=registry).observe(0.3)
    Summary("cloudpulse_fourth_seconds", "A summary.", registry=registry).observe(0.3)
    Info("cloudpulse_fifth", "An info.", registry=registry).info({"version": "1.0"})
    Enum("cloudpulse_sixth", "A state set.", states=["on", "off"], registry=registry).state("off")
    return registry


def test_every_kind_of_metric_reads_as_prometheus_client_writes_it() -> None:
    page = encode(_registry().collect()).decode()
    assert _parsed(page) == _parsed(generate_latest(_registry()).decode())
    assert 'cloudpulse_first_seconds_total{mode="idle"} 2.5\n' in page
    assert "# TYPE cloudpulse_fifth_info gauge\n" in page


def test_a_gauge_histogram_keeps_its_sum_and_count_as_gauges() -> None:
    family = GaugeHistogramMetricFamily("a", "Help.", buckets=[("1", 2.0), ("+Inf", 3.0)], gsum_value=4.0)
    assert _parsed(_text(family)) == _parsed(_reference([family]))
    assert _text(family).endswith("# TYPE a_gsum gauge\na_gsum 4.0\n")


def test_created_samples_are_left_out() -> None:
    family = CounterMetricFamily("a", "Help.", value=1.0, created=1_700_000_000.0)
    assert "_created" in _reference([family])
    assert "_created" not in _text(family)


def test_a_timestamp_is_kept_in_milliseconds() -> None:
    family = Metric("a", "", "gauge")
    family.add_sample("a", {}, 1.0, 1_700_000_000.25)
    assert _text(family).endswith("a 1.0 1700000000250\n")


def test_names_that_the_format_cannot_have_get_underscores() -> None:
    family = Metric("http.requests", "", "gauge")
    family.add_sample("http.requests", {"0th-label": "x", "é": "y"}, 1.0)
    assert _text(family).endswith('http_requests{_th_label="x",_="y"} 1.0\n')
    assert _parsed(_text(family)) == _parsed(_reference([family]))


def test_text_that_is_no_unicode_does_not_cost_the_page() -> None:
    assert encode([Family("a", "", [label_block({"path": "\udcff"})], [1.0])]).endswith(b'a{path="?"} 1.0\n')


@pytest.mark.parametrize(
    "values", [[1, 2], np.array([1.0, 2.0]), np.array([1, 2]), [np.float64(1), np.float32(2)], (x for x in (1.0, 2.0))]
)
def test_a_column_takes_any_numbers(values: Iterable[float]) -> None:
    assert _text(Family("a", "", ['{b="1"}', '{b="2"}'], values)).endswith('a{b="1"} 1.0\na{b="2"} 2.0\n')


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 label blocks for 2 values"):
        Family("a", "", [""], [1.0, 2.0])


def test_a_column_family_is_a_gauge_or_a_counter() -> None:
    with pytest.raises(ValueError, match='expected the kind gauge or counter, got "histogram"'):
        Family("a", "", [], [], "histogram")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")
def test_promtool_accepts_a_page() -> None:
    odd = [label_block({"path": 'C:\\"a"\n', "word": "ü"}), label_block({"path": "b", "word": "w"})]
    families: list[Family | Metric] = [
        *_registry().collect(),
        Family("cloudpulse_seventh_ratio", "A column\nwith \\.", odd, [0.5, math.nan]),
    ]
    done = subprocess.run(["promtool", "check", "metrics"], input=encode(families), capture_output=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, b"")
