"""What fails around the scaler: nothing wrong is served meanwhile, and it recovers by itself."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from kubernetes.client import Configuration
from kubernetes.config import ConfigException, incluster_config

from cloudpulse import webtls
from cloudpulse.errors import ConfigError, SourceUnavailable
from cloudpulse.promql import Series
from cloudpulse.remaking import Remade
from cloudpulse.serving import HEADERS
from cloudpulse.testing import FakeClock, FakeSource, captured_logs
from cloudpulse.webconfig import TlsServer
from scaler.certificate import Expiry
from scaler.cluster import api, connection, watching
from scaler.cluster.connection import Cluster
from scaler.config import ScalerSettings
from scaler.https import THREADS
from scaler.refusal import Denied

from .conftest import until
from .fake_kubernetes import CONFIGMAPS, FakeKubernetes, trust

RULES = """
interval: 1s
metrics:
  - {name: m, api: external, query: sum(m), max_age: 1m}
  - {name: n, api: external, query: sum(n), max_age: 1m}
auth: {mode: delegated}
"""
VALUE = "/apis/external.metrics.k8s.io/v1beta1/namespaces/demo/m"
OTHER = "/apis/external.metrics.k8s.io/v1beta1/namespaces/demo/n"
GROUP = "/apis/external.metrics.k8s.io/v1beta1"
HPA = ("X-Remote-User", "system:serviceaccount:kube-system:horizontal-pod-autoscaler")
AVAILABILITY = (("X-Remote-User", "system:kube-aggregator"), ("X-Remote-Group", "system:masters"))
PLAIN = (("X-Remote-User", "system:kube-aggregator"),)
OPENAPI = (("X-Remote-User", "system:aggregator"),)


@dataclass
class Setting:
    adapter: Any
    kubernetes: FakeKubernetes
    source: FakeSource
    clock: FakeClock
    ticks: FakeClock
    proxy: trustme.LeafCert

    def ask(self, path: str, *headers: tuple[str, str]) -> Any:
        return self.adapter.ask("GET", path, list(headers), self.proxy)

    def probe(self, path: str) -> tuple[int, str]:
        reply = self.adapter.get(path, None)
        return reply.status, reply.body.decode()

    def discovery_goes_on(self) -> bool:
        """For all callers and paths that kube-apiserver's own health hangs on."""
        for path, caller in ((GROUP, AVAILABILITY), ("/apis", AVAILABILITY), (GROUP, PLAIN), ("/openapi/v2", OPENAPI)):
            assert self.ask(path, *caller).status == 200, (path, caller)
        return True


@pytest.fixture
def setting(
    connected: Callable[..., Any],
    serve: Callable[..., Any],
    settings_of: Callable[[str], ScalerSettings],
    sample: Callable[..., Series],
    tmp_path: Path,
) -> Iterator[Setting]:
    clock, ticks, proxies = FakeClock(), FakeClock(), trustme.CA()
    source = FakeSource(lambda query: [sample(5.0, clock.now)], clock)
    kubernetes = FakeKubernetes(trust(proxies), permits=lambda spec: spec["user"] == HPA[1])
    proxy = proxies.issue_cert("x", common_name="front-proxy-client")
    with (
        connected(kubernetes, tmp_path, ticks) as cluster,
        serve(settings_of(RULES), source, clock, tmp_path, cluster) as a,
    ):
        yield Setting(a, kubernetes, source, clock, ticks, proxy)


def test_a_killed_kubernetes_api_stops_new_readers_and_not_discovery(setting: Setting) -> None:
    assert setting.ask(VALUE, HPA).status == 200
    setting.kubernetes.stop()
    assert setting.ask(VALUE, HPA).status == 200  # an answer of some seconds ago
    for path, caller in ((OTHER, HPA), (VALUE, ("X-Remote-User", "bob")), (GROUP, ("X-Remote-User", "bob"))):
        reply = setting.ask(path, caller)
        assert (reply.status, reply.json["reason"], "Retry-After" in reply.headers) == (500, "InternalError", False)
        assert "the Kubernetes API can't be reached" in reply.json["message"]
    assert setting.adapter.get(VALUE, "any-token").status == 500
    setting.ticks.advance(10)
    assert setting.ask(VALUE, HPA).status == 500
    assert setting.discovery_goes_on()
    until(lambda: setting.probe("/-/ready")[0] == 503)
    assert "the Kubernetes API can't be reached" in setting.probe("/health")[1]
    assert (setting.probe("/readyz"), setting.probe("/livez")) == ((200, "ok"), (200, "ok"))

    setting.kubernetes.start()
    assert setting.ask(VALUE, HPA).status == 200
    assert setting.ask(VALUE, ("X-Remote-User", "bob")).status == 403
    until(lambda: setting.probe("/-/ready")[0] == 200)
    metrics = setting.probe("/metrics")[1]
    assert 'cloudpulse_scaler_denied_total{reason="authorization_unavailable"} 4.0' in metrics
    assert 'cloudpulse_scaler_denied_total{reason="authentication_unavailable"} 1.0' in metrics


def test_a_ca_rotated_while_the_kubernetes_api_was_away_is_known_after_its_return(setting: Setting) -> None:
    setting.kubernetes.stop()
    renewed = trustme.CA()
    setting.kubernetes.rotate(trust(renewed))
    assert setting.discovery_goes_on()
    setting.kubernetes.start()
    setting.proxy = renewed.issue_cert("x", common_name="front-proxy-client")
    until(lambda: _succeeds(lambda: setting.ask(VALUE, HPA).status == 200))


def test_a_hung_kubernetes_api_holds_up_no_discovery(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "ANSWER_SECONDS", 1.0)
    setting.kubernetes.hang()
    codes: list[int] = []
    asking = [
        threading.Thread(target=lambda i=i: codes.append(setting.ask(VALUE, ("X-Remote-User", f"u{i}")).status))
        for i in range(3)  # of the server's 4 threads
    ]
    for thread in asking:
        thread.start()
    assert setting.discovery_goes_on()
    for thread in asking:
        thread.join(10)
    assert codes == [500, 500, 500]
    setting.kubernetes.answering.set()
    assert setting.ask(VALUE, HPA).status == 200


def test_no_more_requests_wait_for_the_kubernetes_api_than_leave_threads_to_answer(setting: Setting) -> None:
    """Not even those that wait for the same answer."""
    assert connection.UNKNOWN_AT_ONCE + connection.KNOWN_AT_ONCE == THREADS / 2
    with contextlib.ExitStack() as waiting:
        for _ in range(connection.KNOWN_AT_ONCE - 1):
            waiting.enter_context(setting.adapter.service._cluster.known)
        setting.kubernetes.hang()
        first: list[int] = []
        asking = threading.Thread(target=lambda: first.append(setting.ask(VALUE, HPA).status))
        asking.start()
        until(lambda: setting.adapter.service._cluster.access._verdicts._asked)
        reply = setting.ask(VALUE, HPA)
        assert reply.status == 500
        assert reply.json["message"].endswith("too many requests wait for the Kubernetes API already: ask again")
        assert setting.discovery_goes_on()
        setting.kubernetes.answering.set()
        asking.join(10)
        assert first == [200]
    assert setting.ask(OTHER, HPA).status == 200


def test_callers_that_nobody_knows_take_no_turn_from_those_that_are_known(setting: Setting) -> None:
    """Every random token is a question of its own to the Kubernetes API, which is slow to say no."""
    asked, answer = threading.Semaphore(0), threading.Event()

    class SlowUsers(dict[str, Any]):
        def get(self, token: str, default: Any = None) -> Any:
            asked.release()
            answer.wait(30)
            return super().get(token, default)

    setting.kubernetes.users = SlowUsers()
    access = setting.adapter.service._cluster.access
    causes: list[str] = []

    def guess(number: int) -> None:
        with pytest.raises(Denied) as denied:
            access.identify({"HTTP_AUTHORIZATION": f"Bearer guess-{number}", HEADERS: []})
        causes.append(denied.value.cause)

    guessing = [threading.Thread(target=guess, args=(number,)) for number in range(24)]
    for thread in guessing:
        thread.start()
    for _ in range(connection.UNKNOWN_AT_ONCE):
        assert asked.acquire(timeout=10)
    until(lambda: len(causes) == 24 - connection.UNKNOWN_AT_ONCE)  # the rest waits for nothing
    assert set(causes) == {"authentication_unavailable"}
    assert [setting.ask(path, HPA).status for path in (VALUE, OTHER)] == [200, 200]
    answer.set()
    for thread in guessing:
        thread.join(10)
    assert causes.count("wrong_credentials") == connection.UNKNOWN_AT_ONCE


@pytest.fixture
def short_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "WATCH_SECONDS", 1)


def test_a_watch_that_is_too_old_to_go_on_begins_anew(short_watches: None, setting: Setting) -> None:
    renewed = trustme.CA()
    setting.kubernetes.oldest = setting.kubernetes.version = 1000
    setting.kubernetes.data = trust(renewed)  # changed, and no event says so
    setting.proxy = renewed.issue_cert("x", common_name="front-proxy-client")
    until(lambda: _succeeds(lambda: setting.ask(VALUE, HPA).status == 200))


@pytest.mark.parametrize("code", [200, 403])
def test_a_watch_that_ends_at_once_is_asked_again_after_ever_longer_pauses(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A proxy between may end watches as they begin, and a Role may allow list and not watch."""
    trust_watch, pauses, stopped = setting.adapter.service._cluster.trust, [], threading.Event()
    monkeypatch.setattr(trust_watch, "_stop", stopped)

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) >= 12 and (stopped.set() or True)

    monkeypatch.setattr(stopped, "wait", pause)
    monkeypatch.setattr(watching.random, "uniform", lambda low, high: high)

    def ends_at_once(path: str, query: Any, seconds: int) -> Iterator[Any]:
        if code != 200:
            raise api.ClusterRefused(code, "watch forbidden")
        return iter(())

    monkeypatch.setattr(trust_watch._api, "events", ends_at_once)
    with captured_logs() as lines:
        trust_watch._repeat()
    assert pauses[:3] == [0.05, 0.1, 0.2]
    assert max(pauses) == watching.LONGEST_PAUSE
    told = [line["event"] for line in lines]
    assert told == ([] if code == 200 else ["trust not watched"])
    assert ("403" in trust_watch.problem) == (code == 403)


def test_a_watch_that_held_is_gone_on_with_at_once(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    trust_watch, ticks, pauses, stopped = setting.adapter.service._cluster.trust, FakeClock(), [], threading.Event()
    monkeypatch.setattr(trust_watch, "_stop", stopped)
    monkeypatch.setattr(trust_watch, "_ticks", ticks)
    monkeypatch.setattr(stopped, "wait", pauses.append)
    watched: list[str] = []

    def holds(path: str, query: Any, seconds: int) -> Iterator[Any]:
        watched.append(query["resourceVersion"])
        ticks.advance(seconds)
        yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(len(watched))}}}
        if len(watched) == 3:
            stopped.set()

    monkeypatch.setattr(trust_watch._api, "events", holds)
    trust_watch._repeat()
    assert (watched[1:], pauses) == (["1", "2"], [])


def test_a_configmap_that_is_not_there_is_named_as_the_problem(tmp_path: Path) -> None:
    kubernetes = FakeKubernetes({})
    kubernetes.start()
    cluster = Cluster(kubernetes.kubeconfig(tmp_path), FakeClock())
    cluster.start()
    try:
        until(lambda: "there is no ConfigMap kube-system/extension-apiserver-authentication" in cluster.unready())
    finally:
        cluster.close()
        kubernetes.stop()


def test_a_start_without_the_kubernetes_api_waits_for_it(
    serve: Callable[..., Any],
    settings_of: Callable[[str], ScalerSettings],
    sample: Callable[..., Series],
    tmp_path: Path,
) -> None:
    clock, proxies = FakeClock(), trustme.CA()
    source = FakeSource(lambda query: [sample(5.0, clock.now)], clock)
    kubernetes = FakeKubernetes(trust(proxies), permits=lambda spec: True, forbidden=(CONFIGMAPS,))
    kubernetes.start()
    kubernetes.stop()
    cluster = Cluster(kubernetes.kubeconfig(tmp_path), lambda: datetime.now(UTC).timestamp())
    cluster.trust._shortest_pause = 0.05
    cluster.start()
    proxy = proxies.issue_cert("x", common_name="front-proxy-client")
    try:
        with serve(settings_of(RULES), source, clock, tmp_path, cluster) as adapter:
            setting = Setting(adapter, kubernetes, source, clock, FakeClock(), proxy)
            assert setting.probe("/livez") == (200, "ok")
            until(lambda: "can't be reached" in setting.probe("/readyz")[1])
            assert setting.probe("/readyz")[0] == 503
            assert adapter.get(VALUE, None).status == 401
            assert adapter.get(VALUE, "token").status == 500
            with pytest.raises((ssl.SSLError, ConnectionError)):
                setting.ask(VALUE, *AVAILABILITY)
            kubernetes.start()
            until(lambda: "bind Role extension-apiserver-authentication-reader" in setting.probe("/readyz")[1])
            kubernetes.forbidden = ()
            until(lambda: setting.probe("/readyz") == (200, "ok"))
            assert setting.discovery_goes_on()
            assert setting.ask(VALUE, HPA).status == 200
    finally:
        cluster.close()
        kubernetes.stop()


def test_a_scaler_that_may_not_ask_for_reviews_says_so(setting: Setting) -> None:
    setting.kubernetes.forbidden = ("/apis/authorization.k8s.io/v1/subjectaccessreviews",)
    reply = setting.ask(VALUE, HPA)
    assert (reply.status, "bind ClusterRole system:auth-delegator" in reply.json["message"]) == (500, True)


def test_a_killed_prometheus_is_outlived_until_max_age(setting: Setting) -> None:
    watches = setting.adapter.service._watches
    setting.source.error = SourceUnavailable("http://prometheus.internal:9090 refused the connection")
    setting.clock.advance(60)
    for watch in watches:
        watch.evaluate()
    assert setting.ask(VALUE, HPA).json["items"][0]["value"] == "5"
    setting.clock.advance(1)
    reply = setting.ask(VALUE, HPA)
    assert (reply.status, "Retry-After" in reply.headers) == (503, False)
    assert "Prometheus can't be reached" in reply.json["message"]
    assert "prometheus.internal" not in reply.json["message"]
    assert setting.probe("/-/ready")[0] == 503
    assert setting.probe("/readyz") == (200, "ok")
    assert setting.discovery_goes_on()
    setting.source.error = None
    for watch in watches:
        watch.evaluate()
    assert setting.ask(VALUE, HPA).status == 200
    assert setting.probe("/-/ready")[0] == 200


def test_a_hung_query_ages_its_own_metric_alone(setting: Setting, sample: Callable[..., Series]) -> None:
    hung, release = threading.Event(), threading.Event()

    def samples(query: str) -> list[Series]:
        if query == "sum(m)" and not release.is_set():
            hung.set()
            release.wait(30)
        return [sample(7.0, setting.clock.now)]

    setting.source.samples = samples
    for watch in setting.adapter.service._watches:
        watch._interval = 0.02
        watch.start()
    assert hung.wait(10)
    setting.clock.advance(61)
    until(lambda: setting.ask(OTHER, HPA).status == 200)
    assert setting.ask(OTHER, HPA).json["items"][0]["value"] == "7"
    assert setting.ask(VALUE, HPA).status == 503
    assert setting.discovery_goes_on()
    release.set()
    until(lambda: setting.ask(VALUE, HPA).status == 200)


def test_an_expired_server_certificate_is_told_until_it_is_renewed(setting: Setting, tmp_path: Path) -> None:
    now, ca = datetime.now(UTC), trustme.CA()
    file = tmp_path / "own.crt"
    expired = ca.issue_cert("adapter.svc", not_before=now - timedelta(days=2), not_after=now - timedelta(days=1))
    expired.cert_chain_pems[0].write_to_path(file)
    expired.private_key_pem.write_to_path(tmp_path / "own.key")
    served = Remade(webtls.following(TlsServer(cert_file=file, key_file=tmp_path / "own.key")), lambda _: None)
    setting.adapter.service._expiry = Expiry(lambda: served().certificate)
    status, body = setting.probe("/readyz")
    assert (status, "server certificate expired" in body) == (503, True)
    assert setting.probe("/-/ready")[0] == 503
    assert setting.probe("/livez") == (200, "ok")
    new, renewed = tmp_path / "new", ca.issue_cert("adapter.svc")
    renewed.cert_chain_pems[0].write_to_path(new)
    new.replace(file)
    assert setting.probe("/readyz")[0] == 503  # without its key it is not served
    renewed.private_key_pem.write_to_path(new)
    new.replace(tmp_path / "own.key")
    assert setting.probe("/readyz") == (200, "ok")
    file.write_text("half")  # what can't be read is not served either
    assert setting.probe("/readyz") == (200, "ok")


def test_in_a_pod_the_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("of-the-pod")
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    settings = api.ClusterApi()._settings
    assert settings.host == "https://10.96.0.1:443"
    assert settings.ssl_ca_cert == str(tmp_path / "ca.crt")
    assert settings.auth_settings()["BearerToken"]["value"] == "bearer of-the-pod"


def test_without_a_cluster_delegated_mode_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match=r"not in a pod, and auth\.kubeconfig is not set"):
        Cluster(None, FakeClock())
    (tmp_path / "kubeconfig").write_text("kind: Config\n")
    (tmp_path / "no-yaml").write_text("{")
    for file in ("missing", "kubeconfig", "no-yaml"):
        with pytest.raises(ConfigError, match=f"kubeconfig .*{file}"):
            Cluster(tmp_path / file, FakeClock())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r".*", "[]"),
        (r".*", "foo"),
        (r"clusters: .*", "clusters: {a: b}"),
        (r"cluster: \{server.*?\}", "cluster: {}"),
        (r"token: t", "client-certificate: /absent/crt, client-key: /absent/key"),
        (r"token: t", "token: t, client-certificate: crt"),
        (r"https:.*1\"", 'https://127.0.0.1:1", certificate-authority: /absent/ca'),
        (r"https:.*1\"", 'https://127.0.0.1:1", certificate-authority-data: bm8='),
    ],
)
def test_a_kubeconfig_that_can_not_be_used_is_named_at_start(tmp_path: Path, old: str, new: str) -> None:
    good = """\
apiVersion: v1
kind: Config
clusters: [{name: f, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: s, user: {token: t}}]
contexts: [{name: f, context: {cluster: f, user: s}}]
current-context: f
"""
    (tmp_path / "good").write_text(good)
    api.ClusterApi(tmp_path / "good").close()
    bad = re.sub(old, new, good, count=1, flags=re.DOTALL if old == ".*" else 0)
    assert bad != good
    (tmp_path / "bad").write_text(bad)
    with pytest.raises(ConfigError, match=r"mode delegated needs the Kubernetes API: kubeconfig .*bad"):
        api.ClusterApi(tmp_path / "bad")


def test_a_token_that_can_not_be_renewed_is_a_kubernetes_api_that_can_not_be_asked(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package `kubernetes` reads a service account's token again when due, and its file may be empty just then."""

    def fails(self: Any) -> Any:
        raise ConfigException("Token file exists but empty.")

    monkeypatch.setattr(Configuration, "auth_settings", fails)
    reply = setting.ask(VALUE, HPA)
    assert (reply.status, reply.json["reason"]) == (500, "InternalError")
    assert "the Kubernetes API can't be reached" in reply.json["message"]


def test_what_nobody_expected_is_a_status_too_and_in_the_log(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(setting.adapter.service._cluster.access, "authorize", fails)
    with captured_logs() as lines:
        reply = setting.ask(VALUE, HPA)
    assert (reply.status, reply.json["kind"], reply.json["reason"]) == (500, "Status", "InternalError")
    assert b"secret detail" not in reply.body
    (line,) = [line for line in lines if line["event"] == "request failed"]
    assert line["exc_info"]


def _succeeds(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError:
        return False
