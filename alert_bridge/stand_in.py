"""What a library that calls `requests` by its name gets instead of it: the same calls, made as the bridge makes them.

Addresses are looked at before a connection, redirects aren't followed, ~/.netrc and proxy variables aren't read, the
whole has one deadline, and what came of each call is noted, since such libraries tell no more than "failed".
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final

import requests

from alert_bridge.connecting import Call, watched_session
from alert_bridge.notifier import DeliveryFailed
from alert_bridge.posting import check_status, place, reason
from cloudpulse import trace
from cloudpulse.clock import Clock
from cloudpulse.config import ClientTls


class Errand:
    """What a library does in this thread from `begin` to its end, at most `timeout` seconds."""

    def __init__(self, timeout: float, tls: ClientTls, allow_link_local: bool, clock: Clock) -> None:
        self.failures: list[DeliveryFailed] = []
        """One for each call that ended with something else than 2xx, as they came."""
        self._timeout = timeout
        self._tls = tls
        self._clock = clock
        self._call = Call("", allow_link_local, time.monotonic() + timeout)

    @contextlib.contextmanager
    def begin(self) -> Iterator[None]:
        """Let calls of the stand-in be made in this thread."""
        token = _ERRAND.set(self)
        try:
            with self._call.watched():
                yield
        finally:
            _ERRAND.reset(token)

    def request(self, method: str, url: str, **how: Any) -> requests.Response:
        """As `requests.request`; what goes wrong is noted and raised."""
        try:
            self._call.place = place(url)
        except ValueError:
            self._call.place = "what is no URL"
        how |= {"allow_redirects": False, "headers": {**trace.headers(), **(how.get("headers") or {})}}
        if self._tls.ca_file is not None and how.get("verify", True) is True:
            how["verify"] = str(self._tls.ca_file)
        if self._tls.cert_file and self._tls.key_file:
            how["cert"] = (str(self._tls.cert_file), str(self._tls.key_file))
        how["timeout"] = how.get("timeout") or self._timeout
        try:
            with watched_session() as session:
                response = session.request(method, url, **how)
                if self._call.late:  # what was cut short passes for complete
                    raise requests.Timeout
        except (requests.RequestException, OSError, ValueError) as error:
            text = f"{self._call.place} {reason(error, late=self._call.late)}"
            self.failures.append(DeliveryFailed(text, retryable=True))
            raise
        except DeliveryFailed as failure:
            self.failures.append(failure)
            # What libraries expect of a call that fails.
            raise requests.ConnectionError(str(failure)) from None
        try:
            check_status(self._call.place, response.status_code, response.headers.get("Retry-After"), self._clock)
        except DeliveryFailed as failure:
            self.failures.append(failure)
        return response


_ERRAND: ContextVar[Errand] = ContextVar("errand")


class StandIn(ModuleType):
    """Stands for the module `requests`: its calls belong to the thread's `Errand`; all other names are its own."""

    def __getattr__(self, name: str) -> Any:
        if name in ("Session", "session"):
            raise AttributeError(f"no {name}: only single calls are made as the bridge makes them")
        return getattr(requests, name)

    def request(self, method: str, url: str, **how: Any) -> requests.Response:
        """Raises LookupError outside of an errand."""
        return _ERRAND.get().request(method, url, **how)

    def get(self, url: str, params: Any = None, **how: Any) -> requests.Response:
        """See `request`."""
        return self.request("GET", url, params=params, **how)

    def post(self, url: str, data: Any = None, json: Any = None, **how: Any) -> requests.Response:
        """See `request`."""
        return self.request("POST", url, data=data, json=json, **how)

    def put(self, url: str, data: Any = None, **how: Any) -> requests.Response:
        """See `request`."""
        return self.request("PUT", url, data=data, **how)

    def patch(self, url: str, data: Any = None, **how: Any) -> requests.Response:
        """See `request`."""
        return self.request("PATCH", url, data=data, **how)

    def delete(self, url: str, **how: Any) -> requests.Response:
        """See `request`."""
        return self.request("DELETE", url, **how)

    def head(self, url: str, **how: Any) -> requests.Response:
        """See `request`."""
        return self.request("HEAD", url, **how)

    def options(self, url: str, **how: Any) -> requests.Response:
        """See `request`."""
        return self.request("OPTIONS", url, **how)


STAND_IN: Final = StandIn("requests")


def stand_in(package: str) -> None:
    """Put it in the place of `requests` in every loaded module of the package."""
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{package}.") and vars(module).get("requests") is requests:
            vars(module)["requests"] = STAND_IN


def stands_in(package: str) -> bool:
    """Whether that module, or one within that package, makes its calls through it."""
    return any(
        vars(module).get("requests") is STAND_IN
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(f"{package}.")
    )
