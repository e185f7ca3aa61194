from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudpulse.negotiation import FORMATS, OPENMETRICS, TEXT, TEXT_1_0_0, Format, best_format, takes_gzip

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_42_PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_TEXT_FIRST = (
    "text/plain;version=1.0.0;escaping=underscores;q=0.4,application/openmetrics-text;version=1.0.0;"
    "escaping=underscores;q=0.3,*/*;q=0.2"
)
VICTORIAMETRICS = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/*", TEXT),
        ("text/plain", TEXT),
        (CHROMIUM, TEXT),
        (VICTORIAMETRICS, TEXT),
        (PROMETHEUS_2_42, OPENMETRICS),
        (f"{PROMETHEUS_2_42_PROTOBUF},text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/*", OPENMETRICS),
        ("APPLICATION/OpenMetrics-Text ; Version=1.0.0", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
        ("text/plain;version=1.0.0", TEXT_1_0_0),
        ("text/plain;version=0.0.4;q=0.2,text/plain;version=1.0.0;q=0.3", TEXT_1_0_0),
        ("text/plain,application/openmetrics-text", TEXT),
        ("application/openmetrics-text,text/plain", OPENMETRICS),
        ("*/*,application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;q=0,*/*", TEXT),
        ("text/plain;version=0.0.4;q=0,text/plain", TEXT_1_0_0),
        ("text/*;q=0,*/*;q=0.1", OPENMETRICS),
        ("application/json", TEXT),
        ("*/*;q=0", TEXT),
        ("application/openmetrics-text;q=high,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=2,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=nan,text/plain;q=0.1", TEXT),
    ],
)
def test_the_format_is_the_one_that_the_client_prefers(accept: str, form: Format) -> None:
    assert best_format(accept) == form


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (PROMETHEUS_3, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        (PROMETHEUS_3_TEXT_FIRST, "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("text/plain;version=0.0.4;escaping=values", "text/plain; version=0.0.4; charset=utf-8"),
        (PROMETHEUS_2_42, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_who_asks_how_names_are_escaped_is_told(accept: str, content_type: str) -> None:
    assert best_format(accept).content_type == content_type


@given(st.text('textplainqv/*;=,.01 "', max_size=60) | st.text(max_size=30))
def test_no_header_is_too_odd(header: str) -> None:
    assert best_format(header) in FORMATS
    assert takes_gzip(header) in (True, False)


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("GZip", True),
        ("x-gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("identity", False),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("identity;q=0.5, gzip;q=1.0", True),
        ("identity;q=0", False),
        ("zstd, br", False),
        ("gzip;q=much", False),
    ],
)
def test_gzip_is_taken_when_it_is_asked_for(header: str, taken: bool) -> None:
    assert takes_gzip(header) is taken
