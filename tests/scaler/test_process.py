"""`cloudpulse scaler` as a process, asked by kubectl; and its queries, asked of a real Prometheus."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from cloudpulse.config import PrometheusSettings
from cloudpulse.promql import Prometheus
from cloudpulse.serving import Environ, StartResponse
from cloudpulse.testing import serving
from scaler.config import ScalerSettings
from scaler.watch import Watch

from .fake_kubernetes import FakeKubernetes, trust

KUBECTL = Path(sys.executable).with_name("kubectl")
TOKEN = "sesame-0123456789"


class FakePrometheus:
    """Answers instant queries with 1000 measured, and a forecast of 1234.5 made `age` seconds ago; `down`: 503."""

    def __init__(self) -> None:
        self.age = 20.0
        self.down = False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        now = float(form["time"][0])
        source = {"app": "web", "namespace": "demo"}
        labels = {"forecast": "web_rps", **source}
        value = {"cloudpulse_part": "forecast", "horizon": "15m", "level": "0.9", **labels}
        result = [
            {"metric": source, "value": [now, "1000"]},
            {"metric": value, "value": [now, "1234.5"]},
            {"metric": {"cloudpulse_part": "made", **labels}, "value": [now, f"{now - self.age}"]},
        ]
        if form["query"][0].startswith("group by"):
            result = [{"metric": {"horizon": "15m", "level": "0.9"}, "value": [now, "1"]}]
        answer = {"status": "success", "data": {"resultType": "vector", "result": result}}
        if self.down:
            answer = {"status": "error", "errorType": "unavailable", "error": "shutting down"}
        start_response("503 Service Unavailable" if self.down else "200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)


@contextlib.contextmanager
def _process(
    folder: Path, prometheus: str, auth: str = f"{{tokens: [{{name: hpa, token: {TOKEN}}}]}}", *options: str
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    config = folder / "cloudpulse.yaml"
    config.write_text(f"""
prometheus: {{url: {prometheus}}}
forecaster: {{forecasts: [{{name: web_rps, query: 'sum by (app, namespace) (rps)'}}]}}
scaler:
  data_dir: {folder / "data"}
  interval: 1s
  metrics:
    - {{name: WebAhead, api: external, forecast: web_rps, horizon: 15m, max_age: 2m}}
    - {{name: ahead, api: custom, forecast: web_rps, horizon: 15m, resource: {{namespace: namespace, deployment: app}}}}
  auth: {auth}
""")
    port = _free_port()
    listen = ["--web.listen-address", f"127.0.0.1:{port}", "--log-format", "json"]
    argv = [sys.executable, "-m", "cloudpulse", "scaler", "--config", str(config), *listen, *options]
    process = subprocess.Popen(argv, stderr=(folder / "log").open("w"), text=True)
    try:
        yield process, port
    finally:
        process.kill()
        process.wait(10)


def _kubectl(folder: Path, port: int, path: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "adapter",
                "cluster": {
                    "server": f"https://localhost:{port}",
                    "certificate-authority": str(folder / "data" / "tls.crt"),
                },
            }
        ],
        "users": [{"name": "hpa", "user": {"token": token}}],
        "contexts": [{"name": "adapter", "context": {"cluster": "adapter", "user": "hpa"}}],
        "current-context": "adapter",
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    argv = [str(KUBECTL), "--kubeconfig", str(folder / "kubeconfig"), "--cache-dir", str(folder), "get", "--raw", path]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def _get(folder: Path, port: int, path: str) -> int:
    context = ssl.create_default_context(cafile=str(folder / "data" / "tls.crt"))
    try:
        with urllib.request.urlopen(f"https://localhost:{port}{path}", context=context, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_kubectl_reads_forecasts_and_reads_why_there_are_none(tmp_path: Path) -> None:
    prometheus = FakePrometheus()
    with serving(prometheus) as url, _process(tmp_path, url) as (process, port):
        _until(lambda: (tmp_path / "data" / "tls.crt").exists() and _get(tmp_path, port, "/-/ready") == 200)

        external = "/apis/external.metrics.k8s.io/v1beta1/namespaces/demo/webahead?labelSelector=app%3Dweb"
        (item,) = json.loads(_kubectl(tmp_path, port, external).stdout)["items"]
        assert (item["value"], item["metricLabels"]["app"]) == ("1234500m", "web")
        custom = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/demo/deployments.apps/web/ahead"
        (item,) = json.loads(_kubectl(tmp_path, port, custom).stdout)["items"]
        assert (item["value"], item["describedObject"]["kind"]) == ("1234500m", "Deployment")
        assert "not among those of scaler.auth" in _kubectl(tmp_path, port, external, "wrong").stderr

        # Prometheus answers, and the forecast in it is old: what is measured now, not an old number.
        prometheus.age = 600
        _until(lambda: '"value":"1k"' in _kubectl(tmp_path, port, external).stdout)

        # Prometheus is away: discovery and the probes don't mind.
        prometheus.down = True
        assert _get(tmp_path, port, "/readyz") == 200
        assert _kubectl(tmp_path, port, "/apis/external.metrics.k8s.io/v1beta1").returncode == 0

        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    audit = next(line for line in lines if line["event"] == "answered")
    assert {key: audit[key] for key in ("user", "metric", "namespace", "value", "source")} == {
        "user": "token:hpa",
        "metric": "WebAhead",
        "namespace": "demo",
        "value": 1234.5,
        "source": "forecast:web_rps",
    }
    assert 15 < audit["age_seconds"] < 40
    assert TOKEN not in (tmp_path / "log").read_text()


def test_in_a_cluster_the_front_proxy_is_believed_and_a_rotated_ca_needs_no_restart(tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    kubernetes = FakeKubernetes(trust(old), permits=lambda spec: spec["user"] == "hpa")
    kubernetes.start()
    auth = f"{{mode: delegated, kubeconfig: {kubernetes.kubeconfig(tmp_path)}}}"
    value = "/apis/external.metrics.k8s.io/v1beta1/namespaces/demo/webahead"

    def asked(ca: trustme.CA, user: str) -> int:
        context = ssl.create_default_context(cafile=str(tmp_path / "data" / "tls.crt"))
        ca.issue_cert("x", common_name="front-proxy-client").configure_cert(context)
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=5)
        with contextlib.closing(connection):
            try:
                connection.request("GET", value, headers={"X-Remote-User": user})
                return connection.getresponse().status
            except OSError:
                return 0

    try:
        with serving(FakePrometheus()) as url, _process(tmp_path, url, auth) as (process, port):
            _until(lambda: (tmp_path / "data" / "tls.crt").exists() and _get(tmp_path, port, "/-/ready") == 200)
            assert (asked(old, "hpa"), asked(old, "bob"), asked(new, "hpa")) == (200, 403, 0)
            kubernetes.rotate(trust(new))
            _until(lambda: asked(new, "hpa") == 200)
            assert asked(old, "hpa") == 0
            config = tmp_path / "cloudpulse.yaml"
            config.write_text(config.read_text().replace(auth, "{anonymous: true}"))
            process.send_signal(signal.SIGHUP)
            _until(lambda: "need a restart to change" in (tmp_path / "log").read_text())
            assert asked(new, "bob") == 403
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    finally:
        kubernetes.stop()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "not in a pod, and auth.kubeconfig is not set"),
        (["--web.config.file", "web.yml"], "use scaler.tls instead"),
    ],
)
def test_what_delegated_mode_lacks_is_said_at_start(tmp_path: Path, options: list[str], why: str) -> None:
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: a, key_file: b}\n")
    (tmp_path / "c.yaml").write_text("scaler: {auth: {mode: delegated}}\n")
    argv = [sys.executable, "-m", "cloudpulse", "scaler", "--config", "c.yaml", *options]
    path = {"PYTHONPATH": os.environ.get("PYTHONPATH", "") and str(Path.cwd())}
    done = subprocess.run(
        argv, cwd=tmp_path, env=os.environ | path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert why in done.stderr


@pytest.mark.parametrize("auth", ["{}", "{anonymous: true}"])
def test_client_certificates_that_the_web_config_requires_say_who_may_read(tmp_path: Path, auth: str) -> None:
    ca = trustme.CA()
    server, client = ca.issue_cert("localhost"), ca.issue_cert("x", common_name="me")
    server.cert_chain_pems[0].write_to_path(tmp_path / "own.crt")
    server.private_key_pem.write_to_path(tmp_path / "own.key")
    ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    (tmp_path / "web.yml").write_text(
        "tls_server_config: {cert_file: own.crt, key_file: own.key, client_ca_file: ca.crt, "
        "client_auth_type: RequireAndVerifyClientCert}\n"
    )
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    client.configure_cert(context)

    def asked(port: int, path: str) -> int:
        with contextlib.closing(http.client.HTTPSConnection("localhost", port, context=context, timeout=5)) as asking:
            with contextlib.suppress(OSError):
                asking.request("GET", path)
                return asking.getresponse().status
            return 0

    web = ("--web.config.file", str(tmp_path / "web.yml"))
    with serving(FakePrometheus()) as prometheus, _process(tmp_path, prometheus, auth, *web) as (_, port):
        value = "/apis/external.metrics.k8s.io/v1beta1/namespaces/demo/WebAhead"
        _until(lambda: asked(port, value) == 200)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert "certificate:me" in [line.get("user") for line in lines]
    assert not [line for line in lines if line["event"].startswith("anyone who reaches the port")]


def test_a_reload_says_which_sections_need_a_restart(tmp_path: Path) -> None:
    with serving(FakePrometheus()) as prometheus, _process(tmp_path, prometheus) as (process, port):
        _until((tmp_path / "data" / "tls.crt").exists)
        _until(lambda: _get(tmp_path, port, "/-/ready") == 200)
        config = tmp_path / "cloudpulse.yaml"
        config.write_text(config.read_text().replace(prometheus, "http://127.0.0.1:9"))
        process.send_signal(signal.SIGHUP)
        _until(lambda: "reload" in (tmp_path / "log").read_text())
    assert "prometheus, scaler.data_dir, scaler.tls" in (tmp_path / "log").read_text()


def test_https_is_not_optional(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("basic_auth_users: {}\n")
    (tmp_path / "c.yaml").write_text("scaler: {auth: {anonymous: true}}\n")
    argv = [sys.executable, "-m", "cloudpulse", "scaler", "--config", str(tmp_path / "c.yaml")]
    done = subprocess.run(
        [*argv, "--web.config.file", str(tmp_path / "web.yml")], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "HTTPS only" in done.stderr


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus on PATH")
def test_a_real_prometheus_tells_the_age_of_what_it_answers(
    tmp_path: Path, settings_of: Callable[[str], ScalerSettings]
) -> None:
    """One scrape, then none: an instant query goes on answering with new times, and ours must not believe them."""
    made = time.time() - 300
    body = (
        f'cloudpulse_forecast_value{{forecast="web_rps",horizon="15m",level="0.9",app="web"}} 7\n'
        f'cloudpulse_forecast_timestamp_seconds{{forecast="web_rps",app="web"}} {made:.3f}\n'
        'queue_depth{queue="a}",env="prod"} 3\nqueue_depth{queue="b",env="prod"} 4\n'
    ).encode()

    def metrics(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain; version=0.0.4")])
        return [body]

    rules = settings_of("""
metrics:
  - {name: f, api: external, forecast: web_rps, horizon: 15m, floor: none}
  - {name: q, api: external, query: 'queue_depth{env="prod",queue=~".*}|b"}'}
  - {name: s, api: external, query: 'sum(queue_depth)'}
""").metrics
    with serving(metrics) as target, _real_prometheus(tmp_path, target.removeprefix("http://")) as url:
        source = Prometheus(PrometheusSettings(url=url))
        _until(lambda: bool(source.instant("queue_depth")))
        taken = {s.labels["queue"]: s.value for s in source.instant("timestamp(queue_depth)")}
        later = time.time() + 100

        def items(rule: Any) -> dict[str, tuple[str, float]]:
            found = Watch(rule, source, lambda: later).ask().items
            return {item.labels.get("queue", ""): (item.quantity, item.time) for item in found}

        forecast, plain, expression = map(items, rules)
        assert forecast == {"": ("7", pytest.approx(made, abs=0.002))}
        assert {queue: text for queue, (text, _) in plain.items()} == {"a}": "3", "b": "4"}
        assert all(taken[queue] <= when < later - 90 for queue, (_, when) in plain.items())
        assert expression == {"": ("7", later)}
        source.close()


@contextlib.contextmanager
def _real_prometheus(folder: Path, target: str) -> Iterator[str]:
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "t", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = _free_port()
    argv = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            try:
                with urllib.request.urlopen(f"{url}/-/ready", timeout=1) as response:
                    return bool(response.status == 200)
            except OSError:
                return False

        _until(ready)
        yield url
    finally:
        process.kill()
        process.wait(10)
