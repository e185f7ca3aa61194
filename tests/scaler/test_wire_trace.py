"""What a real kube-apiserver and HPA asked (data/hpa-wire-trace.jsonl), asked of our adapter over real HTTPS.

Once with tokens and certificates of the config, once in a cluster: headers, paths and queries byte for byte.

The stub of the capture failed on purpose in many scenes; ours must not, so that the expectation comes from the request.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import trustme

from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings

from .fake_kubernetes import FakeKubernetes, trust

HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"

LINES = (Path(__file__).parent / "data" / "hpa-wire-trace.jsonl").read_text().splitlines()
TRACE = [json.loads(line) for line in LINES]
HTTP2 = "http2"
"""The scene of another API group on HTTP/2: its headers are asked over HTTP/1.1, which is what ALPN agrees on."""
KINDS = {
    "deployments.apps": "deployment",
    "services": "service",
    "pods": "pod",
    "ingresses.networking.k8s.io": "ingress",
}
LABELS = {
    "namespace": "demo",
    # What the captured selectors select.
    "env": "prod",
    "queue": "orders",
    "region": "eu",
    "verb": "GET",
    "path": "api",
    "tier": "front",
    "a": "x",
    "q": "c",
    "example.com/q": "a.b_c-d",
}


def _metrics() -> dict[tuple[str, str], str]:
    """(metric, kind) -> name of the object, for every metric that the trace asks for; kind "" is external."""
    found = {}
    for line in TRACE:
        parts = [unquote(part) for part in line["request"]["path"].split("/")]
        match parts[1:]:
            case ["apis", "external.metrics.k8s.io", _, "namespaces", "demo", metric]:
                found[metric, ""] = ""
            case ["apis", "custom.metrics.k8s.io", _, "namespaces", "demo", "metrics", metric]:
                found[metric, "namespaces"] = "demo"
            case ["apis", "custom.metrics.k8s.io", _, "namespaces", "demo", kind, name, metric] if kind in KINDS:
                found[metric, kind] = ("pod-2" if metric == "ReqPerSec" else "pod-1") if name == "*" else name
    return found


def _rules(clock: FakeClock, sampled: Callable[..., list[Series]]) -> tuple[str, FakeSource]:
    rules, answers = [], {}
    for i, ((metric, kind), name) in enumerate(_metrics().items()):
        # Config names may be written as people like; the HPA asks for external ones in lower case.
        named = "QueueDepth" if metric == "queuedepth" else metric
        rule: dict[str, Any] = {"name": named, "api": "custom" if kind else "external", "query": f"trace_{i}"}
        labels = LABELS | {"app": "pcase" if metric == "ReqPerSec" else "web-pods"}
        if kind:
            word = KINDS.get(kind)
            rule["resource"] = {"namespace": "namespace"} | ({word: word} if word else {})
            labels |= {word: name} if word else {}
        if metric == "sel-expr":
            rule["resource"] = {"namespace": "namespace"}
        rules.append(rule)
        answers[f"trace_{i}"] = sampled(float(i), clock.now, **labels)
    source = FakeSource(lambda query: answers[query.partition("\nor ")[0]], clock)
    return f"metrics: {json.dumps(rules)}\n", source


@pytest.fixture(scope="module")
def adapter(
    serve: Callable[..., contextlib.AbstractContextManager[Any]],
    settings_of: Callable[[str], ScalerSettings],
    sampled: Callable[..., list[Series]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    clock = FakeClock()
    rules, source = _rules(clock, sampled)
    settings = settings_of(f"{rules}auth: {{client_ca_file: ca.pem}}")
    with serve(settings, source, clock, tmp_path_factory.mktemp("adapter")) as served:
        yield served


@pytest.fixture(scope="module")
def kubernetes() -> FakeKubernetes:
    """The HPA may read metrics everywhere and bob all of his own namespace; everyone who is known may discover.

    The pods have the labels that the captured selectors ask for; the series need not.
    """

    def permits(spec: dict[str, Any]) -> bool:
        resource = spec.get("resourceAttributes")
        if resource is None:
            return "system:authenticated" in spec["groups"] and spec["nonResourceAttributes"]["verb"] == "get"
        if spec["user"] == HPA:
            return resource["verb"] in ("get", "list")
        return bool(spec["user"] == "bob" and resource["namespace"] == "demo")

    proxies = trustme.CA()
    pods = {"pod-1": {"app": "web-pods", "tier": "front"}, "pod-2": {"app": "pcase"}}
    made = FakeKubernetes(trust(proxies), permits=permits, objects={"/api/v1/namespaces/demo/pods": pods})
    made.proxies = proxies  # type: ignore[attr-defined]  # for the test's own use
    return made


@pytest.fixture(scope="module")
def delegated(
    kubernetes: FakeKubernetes,
    connected: Callable[..., Any],
    serve: Callable[..., contextlib.AbstractContextManager[Any]],
    settings_of: Callable[[str], ScalerSettings],
    sampled: Callable[..., list[Series]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    clock, folder = FakeClock(), tmp_path_factory.mktemp("delegated")
    rules, source = _rules(clock, sampled)
    settings = settings_of(f"{rules}auth: {{mode: delegated}}")
    with connected(kubernetes, folder) as cluster, serve(settings, source, clock, folder, cluster) as served:
        yield served


@pytest.mark.parametrize("mode", ["static", "delegated"])
def test_every_request_of_the_trace_is_answered_as_kubernetes_needs_it(
    mode: str, adapter: Any, delegated: Any, kubernetes: FakeKubernetes
) -> None:
    if mode == "static":
        certificate = adapter.authority.issue_cert("front-proxy-client", common_name="front-proxy-client")
    else:
        adapter = delegated
        certificate = kubernetes.proxies.issue_cert("x", common_name="front-proxy-client")  # type: ignore[attr-defined]
    asked: dict[str, Any] = {}
    for line in TRACE:
        request, captured = line["request"], line["response"]
        body = captured["body"]
        kind = body.get("kind") if isinstance(body, dict) else None
        # Repeated requests are asked once, but each form of the stub's answer to them is compared.
        asked.setdefault(json.dumps([request, captured["status"], kind]), line)
    assert len(asked) > 90
    kinds = set()
    for line in asked.values():
        request, captured = line["request"], line["response"]
        target = request["path"] + (f"?{request['query']}" if request["query"] else "")
        # HTTP/2 has all names in small letters; `ask` looks for this one.
        headers = [
            (name.replace("host", "Host"), value) for name, value in request["headers"] if name != "Content-Length"
        ]
        reply = adapter.ask(request["method"], target, headers, certificate)
        expected = _expected_status(request, mode)
        assert reply.status == expected, (target, reply.body)
        assert "Retry-After" not in reply.headers
        if request["method"] == "HEAD":
            assert reply.body == b""
            continue
        if expected >= 400:
            assert reply.headers["Content-Type"] == "application/json"
            assert (reply.json["kind"], reply.json["code"]) == ("Status", expected)
            assert reply.json["message"]
        elif captured["status"] == 200 and isinstance(captured["body"], dict):
            theirs, ours = captured["body"], reply.json
            if theirs.get("kind") == "APIGroupList" and ours["kind"] == "APIGroupDiscoveryList":
                continue  # the stub answered the plain form to the aggregated question
            assert reply.headers["Content-Type"] == captured["content_type"], target
            _same_shape(theirs, ours, target)
            kinds.add(ours.get("kind"))
    assert kinds >= {"ExternalMetricValueList", "MetricValueList", "APIResourceList", "APIGroupDiscoveryList", None}


def test_the_trace_was_authorised_as_the_fixtures_table_says(delegated: Any, kubernetes: FakeKubernetes) -> None:
    """README, "Metrics requests": verb and resource; and for paths the path as it is."""
    certificate = kubernetes.proxies.issue_cert("x", common_name="front-proxy-client")  # type: ignore[attr-defined]
    seen = 0
    for line in TRACE:
        request = line["request"]
        users = {value for name, value in request["headers"] if name == "X-Remote-User"}
        parts = [unquote(part) for part in request["path"].split("/")[1:]]
        if users != {HPA} or _expected_status(request, "delegated") != 200:
            continue
        kubernetes.asked.clear()
        delegated.service._cluster.access._verdicts._answers.clear()
        target = request["path"] + (f"?{request['query']}" if request["query"] else "")
        assert delegated.ask("GET", target, request["headers"], certificate).status == 200
        (spec,) = kubernetes.reviews("SubjectAccessReview")
        expected = {"group": parts[1], "version": parts[2], "namespace": "demo"}
        match parts[5:]:
            case [metric]:
                expected |= {"verb": "list", "resource": metric}
            case ["metrics", metric]:
                expected |= {"verb": "get", "resource": "metrics", "name": metric}
            case [resource, name, metric]:
                expected |= {"verb": "get", "resource": resource, "subresource": metric, "name": name}
        assert spec["resourceAttributes"] == expected
        assert spec["groups"] == [
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
            "system:authenticated",
        ]
        assert list(spec["extra"]) == ["authentication.kubernetes.io/credential-id"]
        assert spec["uid"] == dict(request["headers"])["X-Remote-Uid"]
        seen += 1
    assert seen > 50


def _expected_status(request: dict[str, Any], mode: str) -> int:
    path = request["path"]
    users = {value for name, value in request["headers"] if name.lower() == "x-remote-user"}
    if request["method"] not in ("GET", "HEAD"):
        return 405
    if ".." in path or "//" in path or path.endswith("/"):
        return 404
    if users == {"alice"} and mode == "delegated":
        return 403  # kube-apiserver let her pass in the capture; this cluster has no role for her
    if "/nodes/" in path or "/h2test.example.org/" in path:  # a node belongs to no namespace; a group of others
        return 404
    return 200


def _same_shape(theirs: Any, ours: Any, place: str) -> None:
    """The same keys and types at every level; of lists the first items."""
    if place.endswith((".metricLabels", ".paths")):
        assert isinstance(ours, dict)
    elif isinstance(theirs, dict):
        assert isinstance(ours, dict), place
        assert set(ours) == set(theirs), place
        for key, value in theirs.items():
            _same_shape(value, ours[key], f"{place}.{key}")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), place
        if theirs and ours:
            _same_shape(theirs[0], ours[0], f"{place}[0]")
    else:
        assert type(ours) is type(theirs), place


@pytest.mark.parametrize(("offered", "agreed"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None)])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http_1_1_is_agreed_on(
    delegated: Any, kubernetes: FakeKubernetes, version: ssl.TLSVersion, offered: list[str], agreed: str | None
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(offered)
    delegated.authority.configure_trust(context)
    plain = socket.create_connection(("127.0.0.1", delegated.port), timeout=10)
    with context.wrap_socket(plain, server_hostname="adapter.cloudpulse.svc") as connection:
        assert connection.selected_alpn_protocol() == agreed
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_discovery_is_given_once_and_then_304(adapter: Any, version: str) -> None:
    certificate = adapter.authority.issue_cert("kube-aggregator")
    accept = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    first = adapter.ask("GET", "/apis", [("Accept", accept)], certificate)
    assert first.headers["Content-Type"] == accept
    assert first.json["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    again = [("Accept", accept), ("If-None-Match", f'"disc-1", W/{first.headers["ETag"]}')]
    second = adapter.ask("GET", "/apis", again, certificate)
    assert (second.status, second.body, second.headers["ETag"]) == (304, b"", first.headers["ETag"])


def test_values_carry_the_time_of_the_sample_and_the_object(adapter: Any) -> None:
    certificate = adapter.authority.issue_cert("hpa")
    base = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/demo"
    pods = f"{base}/pods/%2A/requests_per_second?labelSelector=app%3Dweb-pods&metricLabelSelector=path%3Dapi"
    (item,) = adapter.ask("GET", pods, [], certificate).json["items"]
    assert item["timestamp"] == "2023-11-14T22:13:20Z"
    assert item["describedObject"] == {"kind": "Pod", "apiVersion": "v1", "namespace": "demo", "name": "pod-1"}
    (item,) = adapter.ask("GET", f"{base}/metrics/requests_per_second", [], certificate).json["items"]
    assert item["describedObject"] == {"kind": "Namespace", "apiVersion": "v1", "name": "demo"}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("labelSelector=app%3Dweb-pods", 200),
        ("labelSelector=app%3Dother", 404),
        ("labelSelector=pod-template-hash%21%3D1", 404),  # unknown to the series: not guessed
        ("labelSelector=app%3Dweb-pods&metricLabelSelector=path%3Dother", 404),
        ("labelSelector=app%3E1", 400),
        ("labelSelector=a&labelSelector=b", 400),
        ("labelSelector=%ff", 400),
    ],
)
def test_only_the_selected_pods_are_listed(adapter: Any, query: str, status: int) -> None:
    certificate = adapter.authority.issue_cert("hpa")
    path = f"/apis/custom.metrics.k8s.io/v1beta2/namespaces/demo/pods/%2A/requests_per_second?{query}"
    assert adapter.ask("GET", path, [], certificate).status == status
