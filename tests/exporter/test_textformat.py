from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import parse_labels, text_string_to_metric_families

from cloudpulse.families import ForeignSample, label_block
from exporter.textformat import FormatError, families

# The whole of the example in the format's own document, without its timestamps.
DOCUMENTED = r"""# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027
http_requests_total{method="post",code="400"}    3

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric:
something_weird{problem="division by zero"} +Inf

# A histogram, which has a pretty complex representation in the text format:
# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320

# Finally a summary, which has a complex representation, too:
# HELP rpc_duration_seconds A summary of the RPC duration in seconds.
# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} 3102
rpc_duration_seconds_sum 1.7560473e+07
rpc_duration_seconds_count 2693
"""

WRONG = {
    "a b\n": "line 1: expected name",
    "a\n": "line 1: expected name",
    "a{b=c} 1\n": "line 1: expected labels",
    'a{b="c} 1\n': "line 1: expected name",
    'a{b="c\\d"} 1\n': "line 1: expected labels",
    'a{b="c" d="e"} 1\n': "line 1: expected labels",
    'a{b="c",b="d"} 1\n': "line 1: the label b twice",
    'a{__name__="b"} 1\n': "line 1: the label __name__ is reserved",
    "1a 1\n": "line 1: expected name",
    "ä 1\n": "line 1: expected name",
    "a 1_000\n": "line 1: expected name",
    "a ١\n": "line 1: expected name",
    "a 1 2 3\n": "line 1: expected name",
    "fine 1\na 1 1395066363000\n": "line 2: a timestamp",
    "a 1": "half written",
    "a 1\na 2\n": "line 2: a second sample of a",
    'a{x="1",y="2"} 1\na{y="2",x="1"} 2\n': "line 2: a second sample of a",
    "# TYPE a gauge\n# TYPE a gauge\na 1\n": "line 2: a second TYPE of a",
    "# HELP a b\n# HELP a b\na 1\n": "line 2: a second HELP of a",
    "a 1\n# TYPE a gauge\n": "line 2: TYPE of a after its samples",
    "# TYPE a gouge\na 1\n": "line 1: unknown type of a: expected one of counter",
    "# TYPE 1a gauge\n": "line 1: HELP or TYPE of what isn't a metric's name",
    "# TYPE a histogram\na_bucket 1\n": "without the label le",
    '# TYPE a histogram\na_bucket{le="wide"} 1\n': "whose label le is no number",
    '# TYPE a summary\na{quantile=""} 1\n': "whose label quantile is no number",
    'a{b=""} 1\na 2\n': "line 2: a second sample of a",
    "# TYPE a histogram\na 1\n": "expected a_bucket, _sum or _count",
    "# TYPE a summary\na 1\n": "without the label quantile",
    "a 1e999\n": "line 1: expected name",
    "a +nan\n": "line 1: expected name",
    "# HELP a \\x\na 1\n": "line 1: HELP of a: expected",
    "\0\n": "line 1: expected name",
    "a 1\r\n": "line 1: expected name",
}


def test_the_documented_example_is_read_as_it_is_meant() -> None:
    found = families(DOCUMENTED)
    assert [(family.name, family.kind) for family in found] == [
        ("http_requests_total", "counter"),
        ("msdos_file_access_time_seconds", "untyped"),
        ("metric_without_timestamp_and_labels", "untyped"),
        ("something_weird", "untyped"),
        ("http_request_duration_seconds", "histogram"),
        ("rpc_duration_seconds", "summary"),
    ]
    assert found[0].help == "The total number of HTTP requests."
    assert found[1].samples[0].block == r'{error="Cannot find file:\n\"FILE.TXT\"",path="C:\\DIR\\FILE.TXT"}'
    assert found[3].samples == [ForeignSample("something_weird", '{problem="division by zero"}', float("inf"))]


@pytest.mark.parametrize(
    "text", [DOCUMENTED, "", "\n", "# just a remark\n", "a\t1\n", '  a  {  b = "c" , }  -.5e-3 \n']
)
def test_what_is_read_is_what_prometheus_clients_parser_reads(text: str) -> None:
    ours = [(one.name, parse_labels(one.block[1:-1]), one.value) for family in families(text) for one in family.samples]
    theirs = [(s.name, s.labels, s.value) for family in text_string_to_metric_families(text) for s in family.samples]
    assert ours == theirs


@pytest.mark.parametrize("text", ["# TYPE\na 1\n", "# TYPE a\na 1\n", "# TYPEWRITER a\na 1\n"])
def test_a_remark_that_only_begins_like_more_is_a_remark(text: str) -> None:
    assert [(family.name, family.kind) for family in families(text)] == [("a", "untyped")]


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        families(text)
    assert WRONG[text] in str(caught.value)


def test_a_refusal_tells_nothing_of_the_file() -> None:
    """A link in the directory may lead to a file that is nobody's business."""
    with pytest.raises(FormatError) as caught:
        families("root:$y$secret:19000:0:99999:7:::\n")
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")
def test_what_prometheus_own_parser_refuses_is_refused() -> None:
    """Beside what is only ours to refuse: timestamps, and series given twice, which a scrape would not survive."""
    for text in WRONG:
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=20, check=False
        )
        parsed = b"error while linting" not in done.stderr
        ours = any(word in WRONG[text] for word in ("timestamp", "second sample", "without the label", "_bucket, _sum"))
        assert parsed == ours, text


labels = st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.text(max_size=8), max_size=4)


@settings(max_examples=50)
@given(labels, st.floats(allow_nan=False))
def test_labels_and_values_survive_being_written_and_read(labels: dict[str, str], value: float) -> None:
    written = {
        name: text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"") for name, text in labels.items()
    }
    pairs = ",".join(f'{name}="{text}"' for name, text in written.items())
    line = f"x{{{pairs}}} {value!r}\n"
    (family,) = families(line)
    shown = {name: text for name, text in sorted(labels.items()) if text}
    assert family.samples == [ForeignSample("x", label_block(shown), value)]


@settings(max_examples=50)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(FormatError):
        families(text + "\n")
