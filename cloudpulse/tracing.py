"""Traces as an option: where spans go, and that they are recorded only where somebody says so.

The `tracing` section says where to; without one OpenTelemetry's own variables do
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). `cloudpulse/otlp.py` sends them,
and with it OpenTelemetry is loaded, only then.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from cloudpulse import logs, trace
from cloudpulse.config import ClientTls, ConfigFile, Secret, Section, secret_text
from cloudpulse.errors import ConfigError, DependencyMissing

SECTION = "tracing"

log = logs.get(__name__)


class TracingSettings(Section, frozen=True):
    """The `tracing` section, for all services. `endpoint` is OTLP's base URL, to which `/v1/traces` is added.

    `headers_file` holds further ones, a line `Name: value` each. `sample_ratio` is of the traces that begin here: who
    asks with a `traceparent` says whether it is recorded.
    """

    endpoint: str | None = None
    headers: Mapping[str, Secret] = msgspec.field(default_factory=dict)
    headers_file: Path | None = None
    sample_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    service_name: str | None = None
    tls_config: ClientTls = ClientTls()

    def __post_init__(self) -> None:
        if self.tls_config.insecure_skip_verify:
            raise ValueError("tls_config.insecure_skip_verify: not for traces: give the collector's CA as ca_file")
        if self.endpoint is not None:
            _check(self.endpoint)

    def sent_headers(self) -> Mapping[str, str]:
        """Both kinds of headers, in the open. Raises ConfigError."""
        found = {name.lower(): value.reveal() for name, value in self.headers.items()}
        if self.headers_file is not None:
            for number, line in enumerate(secret_text(None, self.headers_file).splitlines(), 1):
                name, colon, value = line.partition(":")
                if not colon or not name.strip():
                    raise ConfigError(f"{self.headers_file}: line {number}: expected `Name: value`")
                found[name.strip().lower()] = value.strip()
        return found


def begin(service: str, file: ConfigFile) -> None:
    """Record this process' spans from now on, where config or environment say so; call it once.

    Raises ConfigError, and DependencyMissing without the extra `tracing` where the config asks for it.
    """
    settings = file.section(SECTION, TracingSettings)
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    if settings.endpoint is None and not _wanted():
        return
    try:
        from cloudpulse.otlp import Recorder
    except ImportError as error:
        missing = f"tracing needs the package {error.name}: pip install 'cloudpulse[tracing]'"
        if settings.endpoint is not None:
            raise DependencyMissing(missing) from error
        # Platforms set the variables for everything that they run.
        log.warning("spans are not recorded", error=missing, hint="or unset OTEL_EXPORTER_OTLP_*")
        return
    recorder = Recorder(service, settings)
    trace.record(recorder)
    atexit.register(recorder.close)
    log.info("spans are recorded", endpoint=settings.endpoint or "by OTEL_* variables", ratio=settings.sample_ratio)


def _check(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, whole = urlsplit(""), False
    if "@" in parts.netloc or parts.query:  # the log shows the endpoint
        raise ValueError("endpoint: expected no password and no query in it: put what is secret into headers")
    if not whole or parts.fragment:
        raise ValueError(f'endpoint: expected a URL such as http://localhost:4318, got "{endpoint}"')


def _wanted() -> bool:
    """Whether the variables ask for what this can do; if it can't, the log says so."""
    if not any(os.environ.get(name) for name in trace.COLLECTOR_VARIABLES):
        return False
    exporters = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if "otlp" not in exporters.replace(" ", "").split(","):
        if exporters != "none":
            log.warning("spans are not recorded", error=f"OTEL_TRACES_EXPORTER is {exporters}, and only otlp is known")
        return False
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := os.environ.get(name):
            if protocol == "http/protobuf":
                return True
            hint = "set it to http/protobuf, and the endpoint to the collector's port for that, 4318"
            log.warning("spans are not recorded", error=f"{name} is {protocol}, which is not spoken here", hint=hint)
            return False
    return True
