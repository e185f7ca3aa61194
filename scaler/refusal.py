"""Why a request gets no value: one exception, shown to people as a Kubernetes `Status`.

`message` is what `kubectl describe hpa` shows, so it says what is missing and what to look at; it holds no
secret and no address.
"""

from __future__ import annotations

from cloudpulse.errors import CloudPulseError


class Refused(CloudPulseError):
    """No answer for this request; `code` is the HTTP status and `reason` Kubernetes' word for it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


def bad_request(message: str) -> Refused:
    """The request can't be understood."""
    return Refused(400, "BadRequest", message)


def unauthorized(message: str) -> Refused:
    """The caller is not known."""
    return Refused(401, "Unauthorized", message)


def not_found(message: str) -> Refused:
    """There is no such path, metric, object or series."""
    return Refused(404, "NotFound", message)


def not_allowed(method: str) -> Refused:
    """Only reading is possible."""
    return Refused(405, "MethodNotAllowed", f"metrics are read-only: {method} is not possible, use GET")


def not_acceptable(message: str) -> Refused:
    """No form of the answer is among those that the caller takes."""
    return Refused(406, "NotAcceptable", message)


def unavailable(message: str) -> Refused:
    """There should be a value, and none can be trusted now.

    It never carries `Retry-After`, which would make the HPA ask up to 10 times and hold one of its 5 workers.
    """
    return Refused(503, "ServiceUnavailable", message)
