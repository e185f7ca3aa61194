"""The Kubernetes API over the package `kubernetes`, which knows kubeconfigs, service accounts and their fresh tokens.

Its generated methods are left aside: they turn answers into models of every field and have none for metadata alone.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config import ConfigException

from cloudpulse.errors import CloudPulseError, ConfigError

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 5.0
KEPT_CONNECTIONS = 16

_MALFORMED = (ValueError, TypeError, AttributeError, LookupError)
"""What the package raises for a file of another shape."""


class ClusterUnavailable(CloudPulseError):
    """The Kubernetes API gave no answer: not reached, too slow, overloaded, or not an answer at all.

    `reason` is for anyone to see: it holds no address.
    """

    def __init__(self, message: str, reason: str = "the Kubernetes API can't be reached or does not answer") -> None:
        super().__init__(message)
        self.reason = reason


class ClusterRefused(CloudPulseError):
    """The Kubernetes API refused: `code` is its HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ClusterApi:
    """Asks the Kubernetes API. For several threads; nothing is tried twice, callers know when to ask again.

    Messages of what it raises may hold addresses: they are for the log.
    """

    def __init__(self, kubeconfig: Path | None = None) -> None:
        """Read `kubeconfig`, or without one the pod's service account; raises ConfigError."""
        self._settings = client.Configuration(host="")  # its own default is http://localhost
        try:
            if kubeconfig is None:
                load: Any = config.load_incluster_config  # it and the next have no types
                load(client_configuration=self._settings)
            else:
                load = config.load_kube_config
                load(str(kubeconfig), client_configuration=self._settings, persist_config=False)
            _usable(self._settings)
        except (ConfigException, OSError, *_MALFORMED, yaml.YAMLError) as error:
            where = f"kubeconfig {kubeconfig}" if kubeconfig else "not in a pod, and auth.kubeconfig is not set"
            raise ConfigError(f"scaler.auth: mode delegated needs the Kubernetes API: {where}: {error}") from error
        self._settings.connection_pool_maxsize = KEPT_CONNECTIONS
        self._http: urllib3.PoolManager = client.ApiClient(self._settings).rest_client.pool_manager

    def get(self, path: str, query: Mapping[str, str], accept: str = "application/json") -> Any:
        """The JSON at `path`; raises ClusterUnavailable and ClusterRefused."""
        return self._asked("GET", f"{path}?{urlencode(query)}", accept, None)

    def create(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the API makes of `body`; raises ClusterUnavailable and ClusterRefused."""
        return self._asked("POST", path, "application/json", json.dumps(body).encode())

    def events(self, path: str, query: Mapping[str, str], seconds: int) -> Iterator[Any]:
        """The events of a watch, once it is granted, until the API ends it, after `seconds` at the latest; raises as
        `get` does, at once or with an event."""
        query = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        patience = urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds + ANSWER_SECONDS)
        try:
            return self._events(
                path, self._sent("GET", f"{path}?{urlencode(query)}", "application/json", None, patience)
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterUnavailable(f"no answer to the watch of {path}: {error}") from error

    def _events(self, path: str, answer: urllib3.BaseHTTPResponse) -> Iterator[Any]:
        try:
            with answer:
                rest = b""
                for piece in answer.stream(None, decode_content=True):
                    *lines, rest = (rest + piece).split(b"\n")
                    yield from (json.loads(line) for line in lines if line.strip())
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ClusterUnavailable(f"the watch of {path} broke: {error}") from error

    def close(self) -> None:
        """Let go of idle connections."""
        self._http.clear()

    def _asked(self, method: str, target: str, accept: str, body: bytes | None) -> Any:
        patience = urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS)
        try:
            with self._sent(method, target, accept, body, patience) as answer:
                return json.loads(answer.read())
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ClusterUnavailable(f"no answer to {method} {target.partition('?')[0]}: {error}") from error

    def _sent(
        self, method: str, target: str, accept: str, body: bytes | None, patience: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": accept, "User-Agent": "cloudpulse-scaler"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            credentials: Any = self._settings.auth_settings()  # reads a service account's token anew when due
        except (ConfigException, OSError, *_MALFORMED) as error:
            raise ClusterUnavailable(f"the scaler's own credentials can't be read: {error}") from error
        for credential in credentials.values():
            headers[credential["key"]] = credential["value"]
        answer = self._http.request(
            method,
            self._settings.host + target,
            body=body,
            headers=headers,
            timeout=patience,
            retries=False,
            preload_content=False,
        )
        if answer.status < 300:
            return answer
        with answer:
            message = f"{answer.status} to {method} {target.partition('?')[0]}: {_message(answer.read())}"
        if answer.status == 429 or answer.status >= 500:
            raise ClusterUnavailable(message)
        raise ClusterRefused(answer.status, message)


def _usable(settings: client.Configuration) -> None:
    """Raises OSError or ConfigException when the files named are not there or no certificates, or no server is named.

    The package looks at none of it before the first request.
    """
    if not settings.host:
        raise ConfigException("the cluster has no server")
    files = [file for file in (settings.ssl_ca_cert, settings.cert_file, settings.key_file) if file]
    for file in files:
        Path(file).open("rb").close()  # ssl doesn't name the one that is missing
    context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
