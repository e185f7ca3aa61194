"""An adapter over real HTTPS, in front of a fake Prometheus source and a fake clock."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from prometheus_client import CollectorRegistry

from cloudpulse import webtls
from cloudpulse.config import parse
from cloudpulse.promql import Series
from cloudpulse.remaking import Remade
from cloudpulse.serving import Face, Server
from cloudpulse.testing import FakeClock, FakeSource
from cloudpulse.webconfig import TlsServer
from scaler.cluster.connection import Cluster
from scaler.config import ScalerSettings, read
from scaler.meters import Meters
from scaler.question import PART
from scaler.service import Service

from .fake_kubernetes import FakeKubernetes

TOKEN = "sesame-0123456789"


@dataclass(frozen=True)
class Reply:
    """One answer of the adapter."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Adapter:
    """A served adapter. `get` keeps the path exactly as given."""

    port: int
    service: Service
    authority: trustme.CA

    def get(self, path: str, token: str | None = TOKEN, **headers: str) -> Reply:
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if token is not None:
            named.append(("Authorization", f"Bearer {token}"))
        return self.ask("GET", path, named)

    def ask(
        self, method: str, path: str, headers: list[tuple[str, str]], certificate: trustme.LeafCert | None = None
    ) -> Reply:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=10)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if not any(name == "Host" for name, _ in headers):
                connection.putheader("Host", "adapter.cloudpulse.svc")
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def settings_of() -> Callable[[str], ScalerSettings]:
    """Settings from the YAML of the `scaler` section, as a user writes it, and of `forecaster.forecasts` beside it."""

    def settings(text: str, forecasts: str = "[]") -> ScalerSettings:
        indented = "".join(f"  {line}\n" for line in text.splitlines())
        whole = f"scaler:\n{indented}\nforecaster: {{forecasts: {forecasts}}}\n"
        return read(parse(whole, Path("cloudpulse.yaml"), {}))

    return settings


@pytest.fixture(scope="session")
def sample() -> Callable[..., Series]:
    """A series of one sample, taken at `at`."""

    def make(value: float, at: float, **labels: str) -> Series:
        return Series(labels, np.array([at]), np.array([value]))

    return make


@pytest.fixture(scope="session")
def sampled(sample: Callable[..., Series]) -> Callable[..., list[Series]]:
    """What Prometheus answers to the query of a plain selector, for one series: the value, and its time beside it."""

    def make(value: float, at: float, **labels: str) -> list[Series]:
        return [sample(value, at, __name__="m", **labels), sample(at, at, **{PART: "sampled"}, **labels)]

    return make


@pytest.fixture(scope="session")
def forecast(sample: Callable[..., Series]) -> Callable[..., list[Series]]:
    """What Prometheus answers to the query of a forecast rule, for one series predicted at `made`."""

    def make(value: float, now: float, made: float, **labels: str) -> list[Series]:
        labels = {"forecast": "web_rps", "job": "forecaster", **labels}
        return [
            sample(value, now, **{PART: "forecast"}, horizon="15m", level="0.9", **labels),
            sample(made, now, **{PART: "made"}, **labels),
        ]

    return make


def _fail(error: Exception) -> None:
    raise AssertionError from error


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for what a thread of the program does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def connected() -> Callable[..., contextlib.AbstractContextManager[Cluster]]:
    """Starts a fake Kubernetes API and gives the cluster as the scaler knows it, once it knows whom to trust."""

    @contextlib.contextmanager
    def run(kubernetes: FakeKubernetes, folder: Path, ticks: Callable[[], float] = time.monotonic) -> Iterator[Cluster]:
        kubernetes.start()
        cluster = Cluster(kubernetes.kubeconfig(folder), time.time, ticks)
        cluster.trust._shortest_pause = 0.05
        cluster.start()
        try:
            until(lambda: cluster.trust.trust)
            yield cluster
        finally:
            cluster.close()
            kubernetes.stop()

    return run


@pytest.fixture(scope="session")
def serve(authority: trustme.CA) -> Callable[..., contextlib.AbstractContextManager[Adapter]]:
    """Serves settings over HTTPS after one evaluation of every rule.

    Client certificates of `authority` are known; with `cluster`, those that it names.
    """

    @contextlib.contextmanager
    def run(
        settings: ScalerSettings, source: FakeSource, clock: FakeClock, folder: Path, cluster: Cluster | None = None
    ) -> Iterator[Adapter]:
        registry = CollectorRegistry()
        service = Service(settings, source, Meters(registry, clock), clock, cluster)
        for watch in service._watches:
            watch.evaluate()
        files = {name: folder / name for name in ("server.crt", "server.key", "ca.crt")}
        own = authority.issue_cert("127.0.0.1", "adapter.cloudpulse.svc")
        files["server.crt"].write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
        own.private_key_pem.write_to_path(files["server.key"])
        authority.cert_pem.write_to_path(files["ca.crt"])
        shown = TlsServer(
            cert_file=files["server.crt"],
            key_file=files["server.key"],
            client_ca_file=None if cluster else files["ca.crt"],
            client_auth_type="NoClientCert" if cluster else "VerifyClientCertIfGiven",
        )
        face = Face("scaler", (registry,), service.health, app=service)
        context = Remade(webtls.following(shown, cluster.trust.pem if cluster else lambda: None), _fail)
        server = Server(face, "127.0.0.1:0", tls=context, threads=4)
        stop = threading.Event()
        thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield Adapter(server.port, service, authority)
        finally:
            stop.set()
            thread.join(10)

    return run
