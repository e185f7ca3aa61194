"""Any path, selector and header over real HTTPS: no 500, no value without permission, no other namespace's value.

`make fuzz` tries 10,000 cases of each, the suite a few (CLOUDPULSE_FUZZ_CASES).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings

from .fake_kubernetes import FakeKubernetes, trust

RULES = """
metrics:
  - {name: m, api: external, query: sum(m), resource: {namespace: namespace}}
  - {name: m, api: custom, query: sum(m), resource: {namespace: namespace, pod: pod}}
"""
TOKENS = "auth: {tokens: [{name: hpa, token: sesame-0123456789}]}"
CANONICAL = re.compile(rb'"value":"(0|[1-9][0-9]*[mkMGTP]?)"')
OURS = b'"5"'
"""The value of the namespace that bob may read."""
GOOD = "Bearer sesame-0123456789"
THEIRS = b'"31337"'
"""The value of the other namespace."""

odd = [
    "*",
    "%2A",
    "..",
    ".",
    "",
    "%2e%2e",
    "%2E.",
    "..%2fother",
    "%2f",
    "%252e%252e",
    "%",
    "%zz",
    "%00",
    "%ff",
    "[",
    ";",
]
words = st.sampled_from([*odd, "apis", "namespaces", "mine", "other", "pods", "metrics", "m", "v1beta1", "%0d%0a"])
segments = words | st.text(max_size=5).map(quote)
anywhere = st.lists(segments, max_size=7)
known = st.sampled_from(
    [
        "apis/external.metrics.k8s.io/v1beta1/namespaces/mine/m",
        "apis/custom.metrics.k8s.io/v1beta2/namespaces/mine/pods/p/m",
        "apis/custom.metrics.k8s.io/v1beta1/namespaces/mine/pods/%2A/m",
        "apis/custom.metrics.k8s.io/v1beta1",
        "openapi/v3/apis/custom.metrics.k8s.io/v1beta1",
    ]
).map(lambda text: text.split("/"))
changes = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), segments), max_size=2)


def _changed(parts: list[str], edits: list[tuple[int, int, str]]) -> str:
    for place, removed, segment in edits:
        parts = [*parts[:place], segment, *parts[place + removed :]]
    return "/" + "/".join(parts)


paths = st.builds(_changed, known | anywhere, changes)
queries = st.lists(
    st.tuples(
        st.sampled_from(["labelSelector", "metricLabelSelector", "limit", "watch"]),
        st.text("mp=!(), innot<%ü\0", max_size=12).map(quote)
        | st.sampled_from(["pod", "!gone", "pod+in+(p)", "%ff", "%"]),
    ),
    max_size=3,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))
header_names = ["Accept", "If-None-Match", "X-Remote-User", "X_Remote_User", "X-Forwarded-Uri", "Cookie", "Range"]
header_values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20
) | st.sampled_from(["system:masters", "application/json;as=APIGroupDiscoveryList;g=apidiscovery.k8s.io", "*"])
headers = st.lists(st.tuples(st.sampled_from(header_names), header_values), max_size=3)
wrong = st.sampled_from(["", "Bearer x", "bearer", "Basic e", "Bearer é\xff", "Bearer sesame-0123456789x"])
credentials = st.one_of(st.just(GOOD), wrong)
forwarded = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "X-Remote-User",
                "x-remote-user",
                "X-Remote-Group",
                "X_Remote_User",
                "X-Remote_Group",
                "X-Remote-User-",
                "X-Remote-Extra-a%2fb",
                "X-Remote-Extra-%zz%ff",
                "X-Remote-Uid",
                "Impersonate-User",
            ]
        ),
        st.sampled_from(["bob", "eve", "system:masters", "system:kube-aggregator", "", " bob", "bob,root"])
        | header_values,
    ),
    max_size=4,
)
quick = settings(
    max_examples=int(os.environ.get("CLOUDPULSE_FUZZ_CASES", "250")),
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def source(sample: Callable[..., Series]) -> FakeSource:
    clock = FakeClock()
    mine = sample(5.0, clock.now, namespace="mine", pod="p")
    return FakeSource(lambda query: [mine, sample(31337.0, clock.now, namespace="other", pod="p")], clock)


@pytest.fixture(scope="module")
def adapter(
    serve: Callable[..., contextlib.AbstractContextManager[Any]],
    settings_of: Callable[[str], ScalerSettings],
    source: FakeSource,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    with serve(settings_of(RULES + TOKENS), source, source.clock, tmp_path_factory.mktemp("adapter")) as served:
        yield served


@pytest.fixture(scope="module")
def proxy() -> tuple[trustme.CA, trustme.LeafCert]:
    """The front proxy's CA and certificate."""
    authority = trustme.CA()
    return authority, authority.issue_cert("x", common_name="front-proxy-client")


@pytest.fixture(scope="module")
def delegated(
    proxy: tuple[trustme.CA, trustme.LeafCert],
    connected: Callable[..., Any],
    serve: Callable[..., contextlib.AbstractContextManager[Any]],
    settings_of: Callable[[str], ScalerSettings],
    source: FakeSource,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """In a cluster that lets bob read everything of one namespace, and nobody else anything."""

    def permits(spec: dict[str, Any]) -> bool:
        return spec["user"] == "bob" and spec.get("resourceAttributes", {}).get("namespace") == "mine"

    folder, pods = tmp_path_factory.mktemp("delegated"), {"p": {"app": "web"}}
    lists = {f"/api/v1/namespaces/{namespace}/pods": pods for namespace in ("mine", "other")}
    kubernetes = FakeKubernetes(trust(proxy[0]), {"bobs": {"username": "bob"}}, permits, lists)
    with connected(kubernetes, folder) as cluster:
        settings = settings_of(f"{RULES}auth: {{mode: delegated}}")
        with serve(settings, source, source.clock, folder, cluster) as served:
            yield served


@quick
@given(st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS"]), paths, queries, headers, credentials)
def test_nothing_breaks_it_and_nothing_leaks(
    adapter: Any, method: str, path: str, query: str, given_headers: list[tuple[str, str]], credential: str
) -> None:
    lines = [f"{method} {path}{'?' if query else ''}{query} HTTP/1.1", "Host: adapter", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in given_headers]
    lines += [f"Authorization: {credential}"] if credential else []
    status, body = _exchange(adapter, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), method)
    assert status in (200, 304, 400, 401, 404, 405, 406, 503), (status, body)
    if credential != GOOD:
        assert b'"value"' not in body
        assert status != 304
    _nothing_wrong(path, body)


@quick
@given(
    st.sampled_from(["GET", "GET", "GET", "GET", "HEAD", "POST"]),
    paths,
    queries,
    headers,
    forwarded,
    st.sampled_from(["", "", "", "Bearer bobs", "Bearer other"]),
    st.booleans(),
)
def test_in_a_cluster_nothing_is_answered_that_it_does_not_permit(
    delegated: Any,
    proxy: tuple[trustme.CA, trustme.LeafCert],
    method: str,
    path: str,
    query: str,
    given_headers: list[tuple[str, str]],
    identity: list[tuple[str, str]],
    credential: str,
    proxied: bool,
) -> None:
    sent = [(name, value) for name, value in given_headers if name.replace("_", "-") != "X-Remote-User"] + identity
    lines = [f"{method} {path}{'?' if query else ''}{query} HTTP/1.1", "Host: adapter", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in sent]
    lines += [f"Authorization: {credential}"] if credential else []
    request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    status, body = _exchange(delegated, request, method, proxy[1] if proxied else None)
    assert status in (200, 304, 400, 401, 403, 404, 405, 406, 503), (status, body)
    user, groups = _identity(identity, credential, proxied)
    if any("_" in name for name, _ in sent) or not user:
        assert b'"items"' not in body
        assert status != 304
    if THEIRS in body:
        assert "system:masters" in groups
    if OURS in body:
        assert user == "bob" or "system:masters" in groups
    if b'"kind":"API' in body:
        assert "system:masters" in groups or user == "system:kube-aggregator"
    _nothing_wrong(path, body)


def _identity(identity: list[tuple[str, str]], credential: str, proxied: bool) -> tuple[str, list[str]]:
    """Who a caller is, worked out apart from the program."""

    def named(wanted: str) -> list[str]:
        return [value.strip(" \t") for name, value in identity if name.lower() == wanted and value.strip(" \t")]

    if proxied and named("x-remote-user"):
        return named("x-remote-user")[0], named("x-remote-group")
    return ("bob" if credential == "Bearer bobs" else ""), []


def _nothing_wrong(path: str, body: bytes) -> None:
    if b'"items"' in body and b'MetricValueList","apiVersion"' in body:
        assert CANONICAL.search(body)
    if THEIRS in body:
        assert "/namespaces/other/" in path
        assert not {"..", ".", ""} & set(path[1:].split("/"))


def _exchange(
    adapter: Any, request: bytes, method: str, certificate: trustme.LeafCert | None = None
) -> tuple[int, bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    adapter.authority.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    plain = socket.create_connection(("127.0.0.1", adapter.port), timeout=10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as Go's and Python's HTTP clients do
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return response.status, response.read()


@pytest.mark.parametrize("between", ["..", "%2e%2e", "%2E%2e", ".", "", "mine/..", "x%2f..", "%252e%252e", "..%2f"])
def test_a_path_never_leads_to_another_namespace(adapter: Any, between: str) -> None:
    for base in ("external.metrics.k8s.io/v1beta1", "custom.metrics.k8s.io/v1beta2"):
        for rest in ("other/m", "other/pods/p/m"):
            reply = adapter.get(f"/apis/{base}/namespaces/mine/{between}/{rest}")
            assert (reply.status, reply.json["kind"]) == (404, "Status")
