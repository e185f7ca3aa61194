"""The Docker Engine's API as JSON, and what can go wrong with it.

    EngineError                 `reason` is the label of the error counter
    ├── EngineUnavailable       not reached, or it failed: the same may succeed later
    ├── EngineRefused           it understood and said no, with its status
    └── NotScalable             what is there can't or must not be scaled now: the message says why and what to do
        ├── Disabled            it has 0 replicas: as with the HPA, scaling is off
        └── ChangedMeanwhile    someone else changed the service between our look and our change

docker-py brings the transports, TLS and the choice of the API's version. Its calls that change services are not used:
`update_service` writes back only the fields that it knows, and adds the registry credentials of this host.
API: https://docs.docker.com/reference/api/engine/ (1.41 and newer are tried in tests).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import docker
import requests
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.errors import DockerException
from docker.tls import TLSConfig

from cloudpulse.errors import CloudPulseError
from scaler.docker.config import DockerSettings

TIMEOUT = 10.0
"""Seconds for an answer; stopping a container takes its own time."""

Fields = dict[str, Any]
"""An object as the Engine has it, with fields that we don't know, to be sent back as they are."""


class EngineError(CloudPulseError):
    """No change, and the reason."""

    reason = "engine"


class EngineUnavailable(EngineError):
    """The Engine was not reached, took too long, or failed."""


class EngineRefused(EngineError):
    """The Engine refused the request; `status` is HTTP's."""

    reason = "refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotScalable(EngineError):
    """The service can't be scaled as it is, or must not be now."""

    reason = "service"


class Disabled(NotScalable):
    """0 replicas: someone has turned the service off, or has yet to turn it on."""

    reason = "disabled"


class ChangedMeanwhile(NotScalable):
    """What the decision rests on is no longer so: it is taken again at the next interval."""

    reason = "conflict"


class Engine:
    """Requests to one Engine, which need not be there yet. For one thread."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._client: docker.APIClient | None = None
        self._version = ""

    def get(self, path: str, filters: Mapping[str, list[str]] | None = None, **query: str | int) -> Any:
        """The answer to a GET; raises EngineError."""
        if filters is not None:
            query["filters"] = json.dumps(filters)
        return self._ask("GET", path, query)

    def post(self, path: str, body: Fields | None = None, timeout: float = TIMEOUT, **query: str | int) -> Any:
        """The answer to a POST, None where there is none; raises EngineError."""
        return self._ask("POST", path, query, body, timeout)

    def delete(self, path: str, **query: str | int) -> None:
        """DELETE; raises EngineError."""
        self._ask("DELETE", path, query)

    def another(self) -> Engine:
        """The same Engine, for another thread."""
        return Engine(self._settings)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def _ask(
        self, method: str, path: str, query: dict[str, str | int], body: Fields | None = None, timeout: float = TIMEOUT
    ) -> Any:
        try:
            client = self._connected()
            url = f"{client.base_url}/v{self._version}{path}"
            response = client.request(method, url, params=query, json=body, timeout=timeout)
        except (requests.RequestException, DockerException, OSError) as error:
            self.close()  # a restarted Engine may speak another version
            raise EngineUnavailable(f"the Docker Engine can't be reached: {_cause(error)}") from error
        if response.status_code >= 400:
            raise _refusal(response, path)
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise EngineUnavailable(f"what answers {path} isn't JSON: is it a Docker Engine?") from error

    def _connected(self) -> docker.APIClient:
        if self._client is None:
            files = self._settings.tls
            pair = (str(files.cert_file), str(files.key_file)) if files and files.cert_file and files.key_file else None
            ca = str(files.ca_file) if files and files.ca_file else None
            tls = TLSConfig(client_cert=pair, ca_cert=ca, verify=not files.insecure_skip_verify) if files else False
            # With a version named it asks nothing yet, and can be kept from the environment: REQUESTS_CA_BUNDLE would
            # take the place of ca_file, and HTTP_PROXY be asked for the way.
            client = docker.APIClient(self._settings.host, DEFAULT_DOCKER_API_VERSION, int(TIMEOUT), tls=tls)
            client.trust_env = False
            self._version = client.version(api_version=False)["ApiVersion"]
            self._client = client
        return self._client


def _cause(error: Exception) -> str:
    """The innermost cause: the outer ones repeat it between brackets and class names."""
    inner: BaseException = error
    while (cause := inner.__cause__ or inner.__context__) is not None:
        inner = cause
    return str(inner) or type(inner).__name__


def _refusal(response: requests.Response, path: str) -> EngineError:
    try:
        message = str(response.json()["message"])
    except (ValueError, LookupError, TypeError):
        message = response.text.strip()[:200]
    text = f"the Docker Engine answers {response.status_code} to {path}: {message}"
    return EngineRefused(response.status_code, text)
