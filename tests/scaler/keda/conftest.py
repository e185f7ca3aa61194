"""KEDA's port served for real, in front of a fake Prometheus source and a fake clock, and a client of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from prometheus_client import CollectorRegistry

from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings
from scaler.keda import servicer
from scaler.keda.externalscaler_pb2 import (
    GetMetricSpecResponse,
    GetMetricsRequest,
    GetMetricsResponse,
    IsActiveResponse,
    ScaledObjectRef,
)
from scaler.keda.server import KedaServer
from scaler.meters import Meters
from scaler.service import Service


@dataclass(frozen=True)
class Keda:
    """A client as KEDA is one; every call is for the ScaledObject `demo/web` unless told."""

    channel: grpc.Channel
    namespace: str = "demo"
    metadata: dict[str, str] = field(default_factory=lambda: {"metricName": "ahead", "targetValue": "100"})

    def asking(self, namespace: str = "demo", **metadata: str) -> Keda:
        """The same client for another trigger."""
        return Keda(self.channel, namespace, {**self.metadata, "scalerAddress": "cloudpulse:9814", **metadata})

    @property
    def ref(self) -> ScaledObjectRef:
        return ScaledObjectRef(name="web", namespace=self.namespace, scalerMetadata=self.metadata)

    def metrics(self, name: str = "") -> float:
        """The value as KEDA reads it."""
        request = GetMetricsRequest(
            scaledObjectRef=self.ref, metricName=name or self.metadata.get("metricName", "").lower()
        )
        (value,) = self._call("GetMetrics", request, GetMetricsResponse).metricValues
        return float(value.metricValueFloat if value.metricValueFloat > 0 else value.metricValue)

    def spec(self) -> tuple[str, float]:
        """Name and target as KEDA reads them."""
        (spec,) = self._call("GetMetricSpec", self.ref, GetMetricSpecResponse).metricSpecs
        return spec.metricName, spec.targetSizeFloat if spec.targetSizeFloat > 0 else spec.targetSize

    def is_active(self) -> bool:
        return bool(self._call("IsActive", self.ref, IsActiveResponse).result)

    def stream(self, timeout: float = 30) -> Any:
        """An iterator of booleans that can be cancelled."""
        call = self.channel.unary_stream(
            f"/{servicer.SERVICE}/StreamIsActive",
            request_serializer=ScaledObjectRef.SerializeToString,
            response_deserializer=lambda raw: IsActiveResponse.FromString(raw).result,
        )
        return call(self.ref, timeout=timeout)

    def refused(self, call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
        """The error that `call` ends with."""
        with pytest.raises(grpc.RpcError) as caught:
            call()
        return caught.value.code(), caught.value.details()

    def _call(self, name: str, request: Any, response: Any) -> Any:
        call = self.channel.unary_unary(
            f"/{servicer.SERVICE}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(request, timeout=10)


@dataclass(frozen=True)
class Port:
    """What is served."""

    server: KedaServer
    service: Service
    registry: CollectorRegistry

    def evaluate(self) -> None:
        """Ask the source once for every rule."""
        for watch in self.service._watches:
            watch.evaluate()

    @contextlib.contextmanager
    def client(self, credentials: grpc.ChannelCredentials | None = None) -> Iterator[Keda]:
        address = f"127.0.0.1:{self.server.port}"
        # A pool of connections of its own: gRPC otherwise shares one between equal channels.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )
        with channel:
            yield Keda(channel)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicer, "POLL_SECONDS", 0.02)


@pytest.fixture(scope="session")
def serve_keda(settings_of: Callable[[str], ScalerSettings]) -> Callable[..., contextlib.AbstractContextManager[Port]]:
    """Serves the rules of a YAML `scaler` section after one evaluation of each; on loopback unless it says `keda`."""

    @contextlib.contextmanager
    def run(text: str, source: FakeSource, clock: FakeClock) -> Iterator[Port]:
        keda = "" if "keda:" in text else "keda: {listen: '127.0.0.1:0'}\n"
        settings = settings_of(f"auth: {{anonymous: true}}\n{keda}{text}")
        registry = CollectorRegistry()
        meters = Meters(registry, clock)
        service = Service(settings, source, meters, clock)
        assert settings.keda is not None
        port = Port(KedaServer(settings.keda, lambda: service.provider, meters, clock), service, registry)
        port.evaluate()
        port.server.start()
        try:
            yield port
        finally:
            port.server.close()

    return run


@dataclass(frozen=True)
class Pki:
    """The files of a server whose clients' certificates `authority` signs."""

    authority: trustme.CA
    folder: Path

    def write(self, authority: trustme.CA) -> None:
        """A fresh certificate and key by `authority`, and its own as the client CA."""
        own = authority.issue_cert("127.0.0.1")
        own.private_key_pem.write_to_path(self.folder / "tls.key")
        (self.folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
        authority.cert_pem.write_to_path(self.folder / "ca.crt")

    @property
    def section(self) -> str:
        names = {"cert_file": "tls.crt", "key_file": "tls.key", "client_ca_file": "ca.crt"}
        files = ", ".join(f"{key}: {self.folder / name}" for key, name in names.items())
        return f"keda: {{listen: '127.0.0.1:0', tls: {{{files}}}}}\n"


@pytest.fixture
def pki(authority: trustme.CA, tmp_path: Path) -> Pki:
    made = Pki(authority, tmp_path)
    made.write(authority)
    return made


def client_credentials(
    authority: trustme.CA, signer: trustme.CA | None, not_after: datetime | None = None
) -> grpc.ChannelCredentials:
    """TLS that trusts `authority`, with a certificate of `signer`."""
    if signer is None:
        return grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    own = signer.issue_cert("keda@example.org", common_name="keda-operator", not_after=not_after)
    chain = b"".join(blob.bytes() for blob in own.cert_chain_pems)
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), own.private_key_pem.bytes(), chain)
