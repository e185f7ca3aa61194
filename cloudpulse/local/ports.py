"""The ports of the local stack, and who is in the way."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psutil

from cloudpulse.errors import AddressUnavailable, ConfigError

DEFAULTS: Mapping[str, int] = {
    "exporter": 9810,
    "forecaster": 9811,
    "alert-bridge": 9812,
    "scaler": 9813,
    "keda": 9814,
    "demo": 9815,
    "prometheus": 9090,
    "alertmanager": 9093,
}


def chosen(options: tuple[str, ...]) -> dict[str, int]:
    """The defaults, changed by `NAME=PORT` options. Raises ConfigError."""
    ports = dict(DEFAULTS)
    for option in options:
        name, _, number = option.partition("=")
        if name not in DEFAULTS or not number.isdecimal() or not 0 < int(number) < 65536:
            raise ConfigError(f'--port: expected NAME=PORT with a NAME of {", ".join(DEFAULTS)}, got "{option}"')
        ports[name] = int(number)
    return ports


def check_free(ports: Mapping[str, int]) -> None:
    """Raises AddressUnavailable that names every taken port and, as far as this user may know, by what."""
    taken = [f"{port} ({name}) by {_owner(port)}" for name, port in ports.items() if not _is_free(port)]
    if taken:
        raise AddressUnavailable(
            f"ports are taken: {'; '.join(taken)}. Stop those, or choose others: --port {next(iter(ports))}=19810"
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  the services listen on all interfaces
        except OSError:
            return False
    return True


def _owner(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another user's process"
