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


class Denied(Refused):
    """Refused for who asks, not for what; `cause` is the label that it is counted under."""

    def __init__(self, code: int, reason: str, message: str, cause: str) -> None:
        super().__init__(code, reason, message)
        self.cause = cause


def bad_request(message: str) -> Refused:
    """The request can't be understood."""
    return Refused(400, "BadRequest", message)


def ambiguous(message: str) -> Denied:
    """The request's headers could be read in two ways, so that nothing they say is believed."""
    return Denied(400, "BadRequest", message, "ambiguous_headers")


def unauthorized(message: str, cause: str) -> Denied:
    """The caller is not known."""
    return Denied(401, "Unauthorized", message, cause)


def forbidden(message: str) -> Denied:
    """The caller is known and may not."""
    return Denied(403, "Forbidden", message, "forbidden")


def uncheckable(message: str, cause: str) -> Denied:
    """Who the caller is or what they may can't be found out now.

    500 and not 503, with which kube-apiserver would list the API group without its resources.
    """
    return Denied(500, "InternalError", message, cause)


def unexpected() -> Refused:
    """A fault of the program."""
    return Refused(500, "InternalError", "the request failed for a reason that nobody expected: see the scaler's log")


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
