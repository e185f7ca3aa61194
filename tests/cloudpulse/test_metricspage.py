"""`/metrics` of every service: its formats, compression and failures; and what a real Prometheus makes of it."""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from cloudpulse import names
from cloudpulse.build import BuildInfo
from cloudpulse.errors import BadRequest
from cloudpulse.families import Family, label_block, one
from cloudpulse.local import past
from cloudpulse.negotiation import FORMATS, OPENMETRICS, TEXT, Format
from cloudpulse.serving import Environ, Face, Health, StartResponse
from cloudpulse.testing import captured_logs, serving

ODD = 'C:\\"a"\n{é}, # ='
"""A label's value with all that needs care."""


class _Source:
    """Yields one family, then fails when told."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def collect(self) -> Iterable[Family]:
        yield one(names.LOAD1, 1.0)
        if self.error is not None:
            raise self.error
        yield one(names.LOAD5, 5.0)


def _registry() -> CollectorRegistry:
    """Every kind of metric that there is."""
    registry = CollectorRegistry()
    Counter("cloudpulse_first_seconds", 'A "counter".', ["mode"], registry=registry).labels(ODD).inc(2.5)
    Gauge("cloudpulse_second_bytes", "A gauge\nof \\ two lines.", registry=registry).set(float("inf"))
    Histogram("cloudpulse_third_seconds", "A histogram.", registry=registry, buckets=[0.5, 1]).observe(0.3)
    Summary("cloudpulse_fourth_seconds", "A summary.", registry=registry).observe(0.3)
    Info("cloudpulse_fifth", "An info.", registry=registry).info({"version": "1.0"})
    Enum("cloudpulse_sixth", "A state set.", states=["on", "off"], registry=registry).state("off")
    return registry


class _Columns:
    def collect(self) -> Iterable[Family]:
        blocks = [label_block({"path": ODD}), label_block({"path": "b"})]
        yield Family("cloudpulse_seventh_seconds_total", "Columns.", blocks, [1e22, float("nan")], "counter")


def _face(*sources: Any, **options: Any) -> Face:
    return Face("Test", sources, lambda: Health(True), **options)


def _ask(face: Face, method: str = "GET", query: str = "", **headers: str) -> tuple[str, dict[str, str], bytes]:
    environ = {"PATH_INFO": "/metrics", "REQUEST_METHOD": method, "QUERY_STRING": query}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    said: list[tuple[str, dict[str, str]]] = []
    body = b"".join(face(environ, lambda status, given: said.append((status, dict(given)))))
    return *said[0], body


def _values(page: bytes) -> dict[str, float]:
    return {s.name: s.value for family in text_string_to_metric_families(page.decode()) for s in family.samples}


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.content_type)
def test_the_format_is_the_one_that_is_asked_for(form: Format) -> None:
    status, headers, page = _ask(_face(_registry()), accept=f"{form.media_type};version={form.version}")
    assert (status, headers["Content-Type"]) == ("200 OK", form.content_type)
    assert page.endswith(b"# EOF\n") == (form == OPENMETRICS)
    assert headers["Vary"] == "Accept, Accept-Encoding"
    assert headers["Cache-Control"] == "no-store"


def test_gzip_is_given_when_it_is_asked_for() -> None:
    face = _face(_registry())
    plain = _ask(face)
    zipped = _ask(face, accept_encoding="gzip")
    assert "Content-Encoding" not in plain[1]
    assert zipped[1]["Content-Encoding"] == "gzip"
    assert int(zipped[1]["Content-Length"]) == len(zipped[2]) < len(plain[2]) == int(plain[1]["Content-Length"])
    assert gzip.decompress(zipped[2]) == plain[2]


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_head_says_what_get_would(encoding: str) -> None:
    face = _face(_registry())
    get, head = _ask(face, accept_encoding=encoding), _ask(face, "HEAD", accept_encoding=encoding)
    assert head == (*get[:2], b"")


def test_a_failing_source_costs_its_own_series_and_the_page_says_so() -> None:
    source = _Source()
    face = _face(source, BuildInfo())
    fine = _values(_ask(face)[2])
    source.error = OSError("disk gone")
    status, _, page = _ask(face)
    values = _values(page)
    assert status == "200 OK"
    assert fine.keys() - values.keys() == {names.LOAD5.name}
    assert (fine[names.METRICS_FAILED.name], values[names.METRICS_FAILED.name]) == (0.0, 1.0)
    assert b"disk gone" not in page


def test_a_family_that_cannot_be_written_costs_its_source() -> None:
    class Odd:
        def collect(self) -> Iterable[Metric]:
            family = Metric("odd", "", "gauge")
            family.add_sample("odd", {}, "many")  # type: ignore[arg-type]  what a careless collector may do
            yield family

    values = _values(_ask(_face(Odd(), BuildInfo()))[2])
    assert values[names.METRICS_FAILED.name] == 1.0
    assert names.BUILD_INFO.name in values


def test_a_failing_source_is_logged_once_until_it_has_worked_again() -> None:
    source = _Source()
    face = _face(source)
    with captured_logs() as lines:
        for error in (OSError("gone"), OSError("gone"), None, None, OSError("gone")):
            source.error = error
            _ask(face)
    assert [line["level"] for line in lines] == ["error", "info", "error"]
    assert (lines[0]["source"], lines[0]["error"]) == ("_Source", "gone")


def test_a_bad_request_is_told_why() -> None:
    def scrape(environ: Environ) -> _Source:
        raise BadRequest(f"nothing is called {environ['QUERY_STRING']}")

    status, headers, body = _ask(_face(scrape=scrape), query="gpu")
    assert (status, body) == ("400 Bad Request", b"nothing is called gpu\n")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"


def test_what_the_request_asks_for_fails_alone() -> None:
    source = _Source()
    source.error = OSError("gone")
    values = _values(_ask(_face(BuildInfo(), scrape=lambda _: source))[2])
    assert values[names.METRICS_FAILED.name] == 1.0
    assert {names.LOAD1.name, names.BUILD_INFO.name} <= values.keys()


@dataclass(frozen=True)
class _Asked:
    """Says how often anything was collected; held until it may."""

    query: str
    calls: Iterator[int] = field(default_factory=itertools.count, compare=False)
    begun: threading.Event = field(default_factory=threading.Event, compare=False)
    go: threading.Event = field(default_factory=threading.Event, compare=False)

    def collect(self) -> Iterable[Family]:
        call = next(self.calls)
        self.begun.set()
        assert self.go.wait(20)
        yield one(names.LOAD1, float(call))


def test_forty_who_ask_for_the_same_at_once_get_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudpulse.shared.FRESH_SECONDS", 60.0)
    asked = _Asked("")
    face = _face(scrape=lambda environ: replace(asked, query=environ["QUERY_STRING"]))
    with ThreadPoolExecutor(41) as pool:
        first = pool.submit(_ask, face)
        assert asked.begun.wait(20)
        others = [pool.submit(_ask, face) for _ in range(39)]
        asked.go.set()
        pages = {answer.result(20)[2] for answer in (first, *others)}
    assert len(pages) == 1
    assert next(asked.calls) == 1


@pytest.mark.parametrize(
    ("query", "headers"),
    [("x", {}), ("", {"accept": OPENMETRICS.content_type}), ("", {"accept_encoding": "gzip"})],
)
def test_who_asks_for_something_else_gets_another_page(
    query: str, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudpulse.shared.FRESH_SECONDS", 60.0)
    asked = _Asked("")
    asked.go.set()
    face = _face(scrape=lambda environ: replace(asked, query=environ["QUERY_STRING"]))
    _ask(face)
    page = _ask(face, query=query, **headers)[2]
    text = (gzip.decompress(page) if "accept_encoding" in headers else page).decode()
    assert f"{names.LOAD1.name} 1.0\n" in text
    monkeypatch.setattr("cloudpulse.shared.FRESH_SECONDS", 0.0)
    _ask(face)
    assert len(face._metrics._pages) == 1  # nothing is kept of what nobody gets any more


def test_openmetrics_is_lawful_with_every_kind_of_metric() -> None:
    page = _ask(_face(_registry(), _Columns(), BuildInfo()), accept=OPENMETRICS.content_type)[2].decode()
    text = _ask(_face(_registry(), _Columns(), BuildInfo()))[2].decode()
    strict = [sample for family in openmetrics_families(page) for sample in family.samples]
    assert strict == [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {sample.name.rpartition("_")[0] for sample in strict} >= {"cloudpulse_third_seconds", "cloudpulse_build"}


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not on PATH")
def test_a_real_prometheus_reads_the_same_from_every_format(tmp_path: Path) -> None:
    face = _face(_registry(), _Columns())
    accepts = {"text": TEXT.content_type, "text-1": "text/plain;version=1.0.0", "own": ""}

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        wish = environ["PATH_INFO"].strip("/")
        if accepts[wish]:  # Prometheus 2.42 can't be told which format to ask for
            environ["HTTP_ACCEPT"] = accepts[wish]
        return face(environ | {"PATH_INFO": "/metrics"}, start_response)

    with serving(app) as url:
        targets = f"static_configs: [{{targets: ['{urllib.parse.urlsplit(url).netloc}']}}]"
        jobs = ", ".join(f"{{job_name: {job}, metrics_path: /{job}, {targets}}}" for job in accepts)
        settings = f"global: {{scrape_interval: 1s}}\nscrape_configs: [{jobs}]\n"
        with past.prometheus([f"past 1 {int(time.time())}\n# EOF\n"], tmp_path, settings) as prometheus:
            found = {job: _series(prometheus, job) for job in accepts}
            metadata = _api(prometheus, "metadata?metric=cloudpulse_first_seconds")
    assert found["own"] == found["text"] == found["text-1"]
    assert found["own"][("cloudpulse_first_seconds_total", ODD)] == "2.5"
    assert found["own"][("cloudpulse_seventh_seconds_total", ODD)] == "1e+22"
    assert len(found["own"]) > 10
    assert metadata["cloudpulse_first_seconds"] == [{"type": "counter", "help": 'A "counter".', "unit": "seconds"}]


def _series(prometheus: str, job: str) -> dict[tuple[str, str], str]:
    """Every series that a job shows, once it does."""
    query = urllib.parse.quote(f'{{__name__=~"cloudpulse_.*",job="{job}"}}')
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        result = _api(prometheus, f"query?query={query}")["result"]
        if result:
            return {_key(entry["metric"]): entry["value"][1] for entry in result}
        time.sleep(0.1)
    raise AssertionError(_api(prometheus, "targets"))


def _key(labels: dict[str, str]) -> tuple[str, str]:
    own = [value for name, value in sorted(labels.items()) if name not in ("__name__", "job", "instance")]
    return labels["__name__"], "|".join(own)


def _api(prometheus: str, path: str) -> Any:
    with urllib.request.urlopen(f"{prometheus}/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)["data"]
