"""One line for each change: who, what, from where, with what result; and for callers that were denied.

No line holds a secret: neither query nor headers are in it, nor the path of a signed link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloudpulse import audit, logs
from cloudpulse.denials import Denials
from cloudpulse.errors import CloudPulseError
from cloudpulse.serving import Environ

WEBHOOK = "/api/v1/alerts"
"""Where Alertmanager posts."""

_LONGEST = 300

log = logs.get(__name__)


def is_webhook(environ: Environ) -> bool:
    """Whether it is posted there, also with slashes before, which Flask takes for one."""
    path = f"/{environ.get('PATH_INFO', '').lstrip('/')}"
    return (environ["REQUEST_METHOD"], path) == ("POST", WEBHOOK)


@dataclass(frozen=True)
class Caller:
    """Who asks, as the log and Alertmanager name them."""

    name: str

    def person(self, said: str) -> str:
        """Who acts, for other people: the key's owner; without a key who they say they are, or whose password it is."""
        kind, _, owner = self.name.partition(":")
        return owner if kind == "key" else said or (owner if kind == "user" else "someone")


class Denied(CloudPulseError):
    """Refused for who asks; `status` is 401 or 403, `cause` the label that it is counted under."""

    def __init__(self, status: int, cause: str, message: str, challenge: str = "Bearer") -> None:
        super().__init__(message)
        self.status = status
        self.cause = cause
        self.challenge = challenge


OnDenied = Callable[[Denied, Environ, str], None]
"""Counts and logs a denial; the text stands for the path where that is secret, else empty."""


def changed(caller: Caller, environ: Environ, action: str, result: str, **about: object) -> None:
    """Tell of a change, or that one failed; `about` are texts of ours and numbers, texts of people go into a dict."""
    origin = _origin(environ)
    if not audit.written(caller.name, action, result, origin=origin, about=about):
        log.info("audit", who=caller.name, **origin, action=action, result=result, **about)


def denied(denials: Denials, refused: Denied, environ: Environ, action: str = "") -> None:
    """Log it unless there are too many of its cause; `unlogged` is how many were. An `action` stands for the path."""
    unlogged = denials.untold(refused.cause)
    if unlogged is None:
        return
    # Of the request line as it was sent, which holds no control characters; keys that people put into a query go.
    target = str(environ.get("REQUEST_URI", environ.get("PATH_INFO", ""))).partition("?")[0]
    asked = action or f"{environ['REQUEST_METHOD']} {target}"[:_LONGEST]
    more: dict[str, object] = {"unlogged": unlogged} if unlogged else {}
    tell = log.warning
    if is_webhook(environ):
        tell = log.error
        more["hint"] = "if this was Alertmanager, its alerts are refused: give its webhook_config the credentials"
    origin = _origin(environ)
    about = {"cause": refused.cause, "why": str(refused), **more}
    audit.written("", asked, "denied", origin=origin, about=about)
    tell("denied", **origin, action=asked, **about)  # in the log as well: who looks there has to put it right


def _origin(environ: Environ) -> dict[str, object]:
    """The peer, and what a proxy says that it stands for, which anyone can say."""
    found: dict[str, object] = {"from": environ.get("REMOTE_ADDR", "")}
    if forwarded := environ.get("HTTP_X_FORWARDED_FOR"):
        found["forwarded_for"] = {"unverified": forwarded[:_LONGEST]}
    return found
