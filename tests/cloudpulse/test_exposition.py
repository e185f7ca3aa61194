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
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from cloudpulse.exposition import encode
from cloudpulse.families import Family, label_block
from cloudpulse.negotiation import FORMATS, OPENMETRICS, Format

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


def _parsed_openmetrics(page: str) -> Parsed:
    return _facts(openmetrics_families(page))


def _openmetrics(*families: Family | Metric) -> str:
    return encode(families, OPENMETRICS).decode()


def _openmetrics_reference(families: Sequence[Family | Metric]) -> str:
    registry = CollectorRegistry()
    registry.register(_Fixed(families))
    return generate_openmetrics(registry).decode()


@st.composite
def _lawful_families(draw: st.DrawFn) -> Metric:
    """What OpenMetrics allows: each label set once, and counters that are numbers from 0 up."""
    kind = draw(st.sampled_from(["gauge", "counter", "unknown"]))
    # prometheus_client's writer mistakes the colons of recording rules; ends such as _count are reserved.
    name = draw(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,6}x", fullmatch=True))
    family = Metric(name, draw(HELPS), kind)
    values = st.floats(0, allow_infinity=False) if kind == "counter" else VALUES
    for labels in draw(st.lists(LABELS, max_size=4, unique_by=lambda labels: tuple(sorted(labels.items())))):
        family.add_sample(name + ("_total" if kind == "counter" else ""), labels, draw(values))
    return family


@given(_lawful_families())
def test_openmetrics_reads_as_what_went_in_and_as_prometheus_client_writes_it(family: Metric) -> None:
    assert _parsed_openmetrics(_openmetrics(family)) == _facts([family])
    assert _parsed_openmetrics(_openmetrics(family)) == _parsed_openmetrics(_openmetrics_reference([family]))


@given(HELPS, st.dictionaries(LABELS.map(lambda labels: tuple(sorted(labels.items()))), st.floats(0), max_size=5))
def test_our_own_families_read_in_openmetrics_as_in_the_text_format(
    documentation: str, rows: dict[tuple[tuple[str, str], ...], float]
) -> None:
    blocks = [label_block(dict(labels)) for labels in rows]
    family = Family("a_seconds_total", documentation, blocks, rows.values(), "counter")
    assert _parsed_openmetrics(_openmetrics(family)) == _parsed(_text(family)) == _facts([family])


def test_every_kind_of_metric_reads_in_openmetrics_as_prometheus_client_writes_it() -> None:
    page = encode(_registry().collect(), OPENMETRICS).decode()
    registry = _registry()
    assert _kinds(page) == ["counter", "gauge", "histogram", "summary", "info", "stateset"]
    reference = _without_created(generate_openmetrics(registry).decode())
    assert _parsed_openmetrics(page) == _parsed_openmetrics(reference)
    assert 'cloudpulse_first_seconds_total{mode="idle"} 2.5\n' in page
    assert "# TYPE cloudpulse_first_seconds counter\n# UNIT cloudpulse_first_seconds seconds\n" in page
    assert page.endswith("# EOF\n")
    assert page.count("# EOF") == 1


def _kinds(page: str) -> list[str]:
    return [family.type for family in openmetrics_families(page)]


def _without_created(page: str) -> str:
    return "".join(line for line in page.splitlines(keepends=True) if "_created" not in line.partition("{")[0])


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("a_seconds", "gauge", "seconds"),
        ("a_bytes_total", "counter", "bytes"),
        ("a_count", "gauge", ""),
        ("seconds_a", "gauge", ""),
        ("a_seconds_b_ratio", "gauge", "ratio"),
    ],
)
def test_openmetrics_names_the_unit_that_the_name_ends_in(name: str, kind: str, unit: str) -> None:
    (family,) = openmetrics_families(_openmetrics(Family(name, "", [""], [1.0], kind)))
    assert family.unit == unit
    assert ("# UNIT" in _openmetrics(Family(name, "", [""], [1.0], kind))) == bool(unit)


def test_a_gauge_histogram_is_one_family_in_openmetrics() -> None:
    family = GaugeHistogramMetricFamily("a", "Help.", buckets=[("1.0", 2.0), ("+Inf", 3.0)], gsum_value=4.0)
    assert _parsed_openmetrics(_openmetrics(family)) == _parsed_openmetrics(_openmetrics_reference([family]))


def test_a_timestamp_is_in_seconds_in_openmetrics() -> None:
    family = Metric("a", "", "gauge")
    family.add_sample("a", {}, 1.0, 1_700_000_000.25)
    assert "a 1.0 1700000000.25\n" in _openmetrics(family)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.content_type)
def test_no_format_has_created_samples_or_exemplars(form: Format) -> None:
    registry = CollectorRegistry()
    histogram = Histogram("a_seconds", "Help.", registry=registry)
    histogram.observe(0.3, {"trace_id": "x"})
    Counter("b", "Help.", registry=registry).inc(1, {"trace_id": "x"})
    page = encode(registry.collect(), form).decode()
    assert "_created" not in page
    assert "trace_id" not in page


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


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.content_type)
def test_a_page_is_its_families_one_after_the_other_whatever_was_written_before(form: Format) -> None:
    """What stands around the values is kept from page to page."""

    def own(name: str, *values: float) -> Family:
        return Family(name, f"About %s {name}.", [f'{{a="{i}%"}}' for i in range(len(values))], values)

    foreign = Gauge("foreign", "A gauge.", registry=None).collect()
    families = [own("a", 1, 2), own("b"), *foreign, own("c_total", math.inf), own("d", 3, math.nan, 4), own("a", 5)]
    end = b"# EOF\n" if form.openmetrics else b""
    for chosen in (families, families[:2], families[:4], list(reversed(families)), [own("a", 7, 8), own("b")]):
        alone = [encode([family], form).removesuffix(end) for family in chosen]
        assert encode(chosen, form) == b"".join(alone) + end
