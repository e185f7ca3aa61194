"""The `scaler.keda` section of the config."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from cloudpulse.config import Section
from cloudpulse.errors import ConfigError
from cloudpulse.serving import split_address


class KedaTls(Section, frozen=True):
    """The certificate of KEDA's port, and who signs KEDA's own: `tlsClientCert` of its TriggerAuthentication."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None


class Keda(Section, frozen=True):
    """Where KEDA's external scaler is served; without this section it is not.

    KEDA knows no tokens: a client certificate is all that can tell who asks. `insecure` says in so many words that
    everyone who reaches the port may read the metrics, and without `tls` in plain text. On loopback it goes unsaid.
    """

    listen: str = ":9814"
    tls: KedaTls | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        try:
            host, _ = self.address
        except ConfigError:
            raise ValueError(f'listen: expected HOST:PORT such as :9814, got "{self.listen}"') from None
        verified = self.tls is not None and self.tls.client_ca_file is not None
        if self.insecure and verified:
            raise ValueError("insecure: contradicts tls.client_ca_file, remove one of them")
        if not verified and not self.insecure and not _is_loopback(host):
            raise ValueError(
                f"tls{'.client_ca_file' if self.tls else ''}: missing; without it everyone who reaches {self.listen} "
                "may read the metrics: add it, or say insecure: true"
            )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; raises ConfigError."""
        return split_address(self.listen)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
