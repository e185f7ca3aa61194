"""Who may read what in a cluster, over real TLS, in front of a fake Kubernetes API."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from cloudpulse import audit as stream
from cloudpulse.denials import DENIALS_SECONDS, MOST_DENIALS, Denials
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource, captured_logs
from scaler import audit
from scaler.config import ScalerSettings
from scaler.refusal import forbidden, unauthorized

from .conftest import until
from .fake_kubernetes import FakeKubernetes, trust

RULES = """
metrics:
  - {name: m, api: external, query: sum(m), resource: {namespace: namespace}}
  - {name: rps, api: custom, query: sum(m), resource: {namespace: namespace, deployment: app}}
  - {name: load, api: custom, query: sum(m), resource: {namespace: namespace}}
auth: {mode: delegated}
"""
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/demo/m"
OBJECT = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/demo/deployments.apps/web/rps"
NAMESPACE = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/demo/metrics/load"
DISCOVERY = ("/apis", "/apis/external.metrics.k8s.io/v1beta1", "/openapi/v2", "/openapi/v3")
HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"


@dataclass
class Setting:
    """An adapter in a cluster whose front proxies have certificates of `proxies`, and users those of `clients`."""

    adapter: Any
    kubernetes: FakeKubernetes
    ticks: FakeClock
    proxies: trustme.CA
    clients: trustme.CA

    def ask(
        self, path: str, certificate: trustme.LeafCert | None = None, *headers: tuple[str, str], method: str = "GET"
    ) -> Any:
        return self.adapter.ask(method, path, list(headers), certificate)

    def proxied(self, path: str, user: str = HPA, *groups: str, method: str = "GET") -> Any:
        headers = [("X-Remote-User", user), *(("X-Remote-Group", group) for group in groups)]
        return self.ask(path, self.front_proxy(), *headers, method=method)

    def front_proxy(self, **options: Any) -> trustme.LeafCert:
        return self.proxies.issue_cert("x", common_name="front-proxy-client", **options)

    def denials(self) -> str:
        metrics = self.adapter.get("/metrics", None).body.decode()
        return "\n".join(line for line in metrics.splitlines() if "denied_total{" in line)


@pytest.fixture
def cluster(
    connected: Callable[..., Any],
    serve: Callable[..., Any],
    settings_of: Callable[[str], ScalerSettings],
    sample: Callable[..., Series],
    tmp_path: Path,
) -> Iterator[Setting]:
    clock, ticks, proxies, clients = FakeClock(), FakeClock(), trustme.CA(), trustme.CA()
    source = FakeSource(lambda query: [sample(31337.0, clock.now, namespace="demo", app="web")], clock)
    kubernetes = FakeKubernetes(trust(proxies, clients), permits=lambda spec: spec["user"] == HPA)
    with (
        connected(kubernetes, tmp_path, ticks) as known,
        serve(settings_of(RULES), source, clock, tmp_path, known) as a,
    ):
        yield Setting(a, kubernetes, ticks, proxies, clients)


def test_the_user_that_the_front_proxy_names_reads_what_the_cluster_lets(cluster: Setting) -> None:
    assert cluster.proxied(EXTERNAL).json["items"][0]["value"] == "31337"
    denied = cluster.proxied(EXTERNAL, "bob")
    assert (denied.status, denied.json["reason"]) == (403, "Forbidden")
    assert (
        'User "bob" may not list m in API group "external.metrics.k8s.io" in namespace demo' in denied.json["message"]
    )
    assert b"31337" not in denied.body
    assert 'reason="forbidden"} 1.0' in cluster.denials()


@pytest.mark.parametrize(
    ("path", "attributes"),
    [
        (
            EXTERNAL,
            {"verb": "list", "group": "external.metrics.k8s.io", "version": "v1beta1", "resource": "m"},
        ),
        (
            OBJECT,
            {
                "verb": "get",
                "group": "custom.metrics.k8s.io",
                "version": "v1beta2",
                "resource": "deployments.apps",
                "subresource": "rps",
                "name": "web",
            },
        ),
        (
            OBJECT.replace("web", "%2A"),
            {
                "verb": "get",
                "group": "custom.metrics.k8s.io",
                "version": "v1beta2",
                "resource": "deployments.apps",
                "subresource": "rps",
                "name": "*",
            },
        ),
        (
            NAMESPACE,
            {
                "verb": "get",
                "group": "custom.metrics.k8s.io",
                "version": "v1beta2",
                "resource": "metrics",
                "name": "load",
            },
        ),
    ],
)
def test_a_read_is_authorised_as_kube_apiserver_does(cluster: Setting, path: str, attributes: dict[str, str]) -> None:
    assert cluster.proxied(path, HPA, "system:serviceaccounts").status == 200
    (spec,) = cluster.kubernetes.reviews("SubjectAccessReview")
    assert spec == {
        "user": HPA,
        "uid": "",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {},
        "resourceAttributes": {"namespace": "demo", **attributes},
    }


def test_a_denied_caller_leaves_a_line_that_says_who_wanted_what_and_why_not(cluster: Setting) -> None:
    with captured_logs() as lines:
        assert cluster.proxied(EXTERNAL, "bob").status == 403
        assert cluster.adapter.get(f"{EXTERNAL}?a={'x' * 1000}", None).status == 401
        cluster.kubernetes.forbidden = ("/apis/authentication.k8s.io/v1/tokenreviews",)
        assert cluster.adapter.get("/apis", "secret-token").status == 500
    known, unknown, unchecked = (line for line in lines if line["event"] == "denied")
    assert (known["user"], known["cause"]) == ("bob", "forbidden")
    assert known["action"] == 'list m in API group "external.metrics.k8s.io" in namespace demo'
    assert known["why"].startswith('User "bob" may not list m')
    assert (unknown["cause"], "user" in unknown, len(unknown["action"])) == ("no_credentials", False, 300)
    assert unknown["action"].startswith(f"GET {EXTERNAL}?a=xx")
    assert (unchecked["cause"], "403 to POST" in unchecked["error"]) == ("authentication_unavailable", True)
    assert "secret-token" not in str(lines)


def test_with_an_audit_log_answers_are_there_and_denials_in_both(cluster: Setting, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    stream.to(str(file))
    try:
        with captured_logs() as lines:
            assert cluster.proxied(EXTERNAL, HPA).status == 200
            assert cluster.proxied(EXTERNAL, "bob").status == 403
    finally:
        stream.to(None)
    answered, denied = (json.loads(line) for line in file.read_text().splitlines())
    assert (answered["who"], answered["action"], answered["result"]) == (HPA, "read metric", "answered")
    assert (answered["from"], answered["about"]["metric"]) == ("127.0.0.1", "m")
    assert (denied["who"], denied["result"], denied["about"]["cause"]) == ("bob", "denied", "forbidden")
    assert [line["event"] for line in lines if line["event"] in ("answered", "denied")] == ["denied"]


def test_a_flood_of_denials_is_counted_and_hides_no_other_cause() -> None:
    ticks = FakeClock()
    denials = Denials(ticks)
    with captured_logs() as lines:
        for _ in range(1000):
            audit.denied(denials, unauthorized("who?", "no_credentials"), "GET /apis")
        audit.denied(denials, forbidden("no"), "get m", "bob")
        ticks.advance(DENIALS_SECONDS)
        audit.denied(denials, unauthorized("who?", "no_credentials"), "GET /apis")
    assert [line["cause"] for line in lines] == ["no_credentials"] * MOST_DENIALS + ["forbidden", "no_credentials"]
    assert [line.get("unlogged") for line in lines[-2:]] == [None, 1000 - MOST_DENIALS]


def test_everything_that_the_front_proxy_says_reaches_the_review(cluster: Setting) -> None:
    headers = [
        ("x-remote-user", HPA),
        ("X-Remote-Group", "a,b"),
        ("X-Remote-Uid", "u-1"),
        ("X-Remote-Group", "grüne".encode().decode("latin-1")),
        ("X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id", "JTI=1"),
        ("X-Remote-Extra-Scopes", "one"),
        ("X-Remote-Extra-Scopes", "two"),
    ]
    assert cluster.ask(EXTERNAL, cluster.front_proxy(), *headers).status == 200
    (spec,) = cluster.kubernetes.reviews("SubjectAccessReview")
    assert (spec["uid"], spec["groups"]) == ("u-1", ["a,b", "grüne", "system:authenticated"])
    assert spec["extra"] == {"authentication.kubernetes.io/credential-id": ["JTI=1"], "scopes": ["one", "two"]}


def test_anonymous_callers_of_kube_apiserver_are_not_called_authenticated(cluster: Setting) -> None:
    assert cluster.proxied(EXTERNAL, "system:anonymous", "system:unauthenticated").status == 403
    (spec,) = cluster.kubernetes.reviews("SubjectAccessReview")
    assert spec["groups"] == ["system:unauthenticated"]


def test_a_forwarded_user_is_believed_from_a_front_proxy_alone(cluster: Setting) -> None:
    masters = [("X-Remote-User", "root"), ("X-Remote-Group", "system:masters")]
    assert cluster.ask(EXTERNAL, cluster.front_proxy(), *masters).status == 200
    assert cluster.ask(EXTERNAL, None, *masters).status == 401
    # A certificate of the client CA is a user of its own, whatever it says.
    mallory = cluster.clients.issue_cert("x", common_name="front-proxy-client", organization_name="devs")
    assert cluster.ask(EXTERNAL, mallory, *masters).status == 403
    assert cluster.kubernetes.reviews("SubjectAccessReview")[0]["user"] == "front-proxy-client"
    assert cluster.kubernetes.reviews("SubjectAccessReview")[0]["groups"] == ["devs", "system:authenticated"]
    # One of the front proxy's CA with another name is no one.
    assert cluster.ask(EXTERNAL, cluster.proxies.issue_cert("x", common_name="other"), *masters).status == 401
    # And without a user's name in the headers, the front proxy is no one either.
    assert cluster.ask(EXTERNAL, cluster.front_proxy(), masters[1]).status == 401


def test_without_allowed_names_any_certificate_of_the_ca_is_a_front_proxy(cluster: Setting) -> None:
    named = [("X-Remote-User", HPA)]
    other = cluster.proxies.issue_cert("x", common_name="other")
    assert cluster.ask(EXTERNAL, other, *named).status == 401
    cluster.kubernetes.rotate(trust(cluster.proxies, names=()))
    until(lambda: cluster.ask(EXTERNAL, other, *named).status == 200)


def test_an_intermediate_ca_is_trusted_as_any_other_of_the_bundle(cluster: Setting) -> None:
    """kube-apiserver is written in Go, to which every certificate of a bundle is an anchor; OpenSSL wants a root."""
    intermediate = cluster.proxies.create_child_ca()
    proxy = intermediate.issue_cert("x", common_name="front-proxy-client")
    cluster.kubernetes.rotate(trust(intermediate))
    until(lambda: _status(cluster, EXTERNAL, proxy, ("X-Remote-User", HPA)) == 200)
    assert _status(cluster, EXTERNAL, cluster.front_proxy(), ("X-Remote-User", HPA)) == 0, "its root is not trusted"


def test_certificates_of_no_ca_and_expired_ones_can_do_nothing(cluster: Setting) -> None:
    expired = {"not_before": datetime.now(UTC) - timedelta(days=2), "not_after": datetime.now(UTC) - timedelta(days=1)}
    strangers = [
        trustme.CA().issue_cert("x", common_name="front-proxy-client"),
        cluster.front_proxy(**expired),
        cluster.clients.issue_cert("x", common_name="admin", organization_name="system:masters", **expired),
    ]
    for stranger in strangers:
        for path in (EXTERNAL, *DISCOVERY, "/livez"):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                cluster.ask(path, stranger, ("X-Remote-User", HPA), ("X-Remote-Group", "system:masters"))


def test_a_certificate_that_expires_during_a_connection_is_not_believed_longer(
    cluster: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = cluster.front_proxy(not_after=datetime.now(UTC) + timedelta(hours=1))
    with _connection(cluster, soon) as get:
        assert get(EXTERNAL)[0] == 200
        known = cluster.adapter.service._cluster.trust.trust
        monkeypatch.setattr(known._proxies, "_clock", lambda: datetime.now(UTC).timestamp() + 7200)
        assert get(EXTERNAL) == (401, "close")


def test_a_certificate_of_the_cluster_is_its_user(cluster: Setting) -> None:
    admin = cluster.clients.issue_cert("x", common_name="kubernetes-admin", organization_name="system:masters")
    assert cluster.ask(EXTERNAL, admin).status == 200
    assert cluster.kubernetes.asked == []
    assert cluster.ask(EXTERNAL, cluster.clients.issue_cert("x", common_name=HPA)).status == 200
    assert cluster.ask(EXTERNAL, cluster.clients.issue_cert("no-common-name")).status == 401


def test_a_bearer_token_is_reviewed_and_then_what_it_may(cluster: Setting) -> None:
    cluster.kubernetes.users["good"] = {"username": HPA, "uid": "7", "groups": ["g"], "extra": {"k": ["v"]}}
    cluster.kubernetes.users["poor"] = {"username": "poor"}
    with captured_logs() as logs:
        assert cluster.adapter.get(EXTERNAL, "good").status == 200
    (spec,) = cluster.kubernetes.reviews("SubjectAccessReview")
    assert (spec["user"], spec["uid"], spec["groups"], spec["extra"]) == (
        HPA,
        "7",
        ["g", "system:authenticated"],
        {"k": ["v"]},
    )
    (audit,) = [line for line in logs if line["event"] == "answered"]
    assert (audit["user"], audit["groups"], audit["value"]) == (HPA, ["g", "system:authenticated"], 31337)
    assert cluster.adapter.get(EXTERNAL, "poor").status == 403
    assert cluster.adapter.get(EXTERNAL, "bad").status == 401
    assert cluster.adapter.get(EXTERNAL, None, Authorization="Basic Z29vZDo=").status == 401
    assert ("/apis/authentication.k8s.io/v1/tokenreviews", "Bearer the-scalers-own", "application/json") in (
        cluster.kubernetes.agents
    )


def test_answers_of_the_cluster_count_for_seconds(cluster: Setting) -> None:
    cluster.kubernetes.users["good"] = {"username": HPA}
    for _ in range(3):
        assert cluster.adapter.get(EXTERNAL, "good").status == 200
        assert cluster.adapter.get(EXTERNAL, "bad").status == 401
    assert len(cluster.kubernetes.reviews("TokenReview")) == 2
    assert len(cluster.kubernetes.reviews("SubjectAccessReview")) == 1
    cluster.kubernetes.permits = lambda spec: False
    assert cluster.adapter.get(EXTERNAL, "good").status == 200
    cluster.ticks.advance(10)
    assert cluster.adapter.get(EXTERNAL, "good").status == 403
    cluster.kubernetes.permits = lambda spec: True
    assert cluster.adapter.get(EXTERNAL, "good").status == 403
    cluster.ticks.advance(10)
    assert cluster.adapter.get(EXTERNAL, "good").status == 200
    del cluster.kubernetes.users["good"]
    cluster.ticks.advance(10)
    assert cluster.adapter.get(EXTERNAL, "good").status == 401


@pytest.mark.parametrize("path", [*DISCOVERY, "/nowhere"])
def test_discovery_is_authorised_as_a_path(cluster: Setting, path: str) -> None:
    allowed = {"path": path, "verb": "get"}
    cluster.kubernetes.permits = lambda spec: spec.get("nonResourceAttributes") == allowed
    assert cluster.proxied(path, "bob").status == (404 if path == "/nowhere" else 200)
    assert cluster.proxied(path, "bob", method="HEAD").status == 403
    cluster.kubernetes.permits = lambda spec: False
    cluster.ticks.advance(10)
    assert cluster.proxied(path, "bob").status == 403


@pytest.mark.parametrize(
    "name", ["X_Remote_User", "X-Remote_User", "x-remote-group_", "_", "Authorization_", "X_Anything"]
)
def test_a_header_name_that_wsgi_would_merge_is_refused(cluster: Setting, name: str) -> None:
    reply = cluster.ask(EXTERNAL, cluster.front_proxy(), (name, "root"), ("X-Remote-User", HPA))
    assert (reply.status, reply.json["reason"]) == (400, "BadRequest")
    assert 'reason="ambiguous_headers"} 1.0' in cluster.denials()


def test_a_path_is_never_normalised_nor_authorised_as_another(cluster: Setting) -> None:
    """A user of one namespace passes kube-apiserver with `..`; see the scene traversal-limited-user."""
    for path in (
        EXTERNAL.replace("demo/", "mine/../demo/"),
        EXTERNAL.replace("/demo", "/%2e%2e"),
        f"/apis/{EXTERNAL[5:]}",
    ):
        assert cluster.proxied(path).status == 404
    assert cluster.kubernetes.reviews("SubjectAccessReview") == []


def test_a_namespaces_own_metric_has_one_path_alone(cluster: Setting) -> None:
    """Without `metrics` between, kube-apiserver authorises another read: of a resource named as the metric."""
    assert cluster.proxied(NAMESPACE).status == 200
    assert cluster.proxied(NAMESPACE.replace("/metrics/load", "/load")).status == 404


def test_other_verbs_than_reading_are_refused_and_their_bodies_are_no_requests(cluster: Setting) -> None:
    with _connection(cluster, cluster.front_proxy()) as get:
        assert get(EXTERNAL, "POST") == (405, None)
        assert get(EXTERNAL)[0] == 200
    assert cluster.proxied(EXTERNAL, method="DELETE").status == 405


def test_a_rotated_ca_needs_no_restart_and_ends_the_old_one(cluster: Setting) -> None:
    old, new = cluster.front_proxy(), trustme.CA()
    headers = [("X-Remote-User", HPA)]
    with _connection(cluster, old) as get:
        assert get(EXTERNAL)[0] == 200
        renewed = new.issue_cert("x", common_name="front-proxy-client")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            cluster.ask(EXTERNAL, renewed, *headers)
        cluster.kubernetes.rotate(trust(new))
        until(lambda: _status(cluster, EXTERNAL, renewed, *headers) == 200)
        # A connection of before is told, and ended, so that the next is made with the new certificate.
        assert get(EXTERNAL) == (401, "close")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        cluster.ask(EXTERNAL, old, *headers)


@pytest.mark.parametrize("broken", ["-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n", "no PEM"])
def test_what_can_not_be_read_changes_nothing(cluster: Setting, broken: str) -> None:
    cluster.kubernetes.rotate(trust(cluster.proxies) | {"requestheader-client-ca-file": broken})
    cluster.kubernetes.rotate(trust(cluster.proxies, cluster.clients, ("other", "front-proxy-client")))
    other = cluster.proxies.issue_cert("x", common_name="other")
    until(lambda: cluster.ask(EXTERNAL, other, ("X-Remote-User", HPA)).status == 200)
    cluster.kubernetes.rotate({}, "DELETED")
    assert cluster.proxied(EXTERNAL).status == 200


def _status(cluster: Setting, path: str, certificate: trustme.LeafCert, *headers: tuple[str, str]) -> int:
    try:
        return int(cluster.ask(path, certificate, *headers).status)
    except OSError:
        return 0


@contextlib.contextmanager
def _connection(cluster: Setting, certificate: trustme.LeafCert) -> Iterator[Callable[..., tuple[int, str | None]]]:
    """One connection for several requests of the HPA; gives the status, and what is said of the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    cluster.adapter.authority.configure_trust(context)
    certificate.configure_cert(context)
    connection = http.client.HTTPSConnection("127.0.0.1", cluster.adapter.port, context=context, timeout=10)

    def get(path: str, method: str = "GET") -> tuple[int, str | None]:
        body = b"GET / HTTP/1.1\r\n\r\n" if method == "POST" else None
        connection.request(method, path, body, {"X-Remote-User": HPA})
        response = connection.getresponse()
        response.read()
        return response.status, response.headers["Connection"]

    with contextlib.closing(connection):
        yield get
