"""The line for each value that was given out: to whom, what, how old, from where; and for callers that were denied."""

from __future__ import annotations

from cloudpulse import audit, logs
from cloudpulse.denials import Denials
from scaler.provider import Answer
from scaler.refusal import Denied

_LONGEST = 300

log = logs.get(__name__)


def answered(user: str, origin: str, api: str, answer: Answer, now: float, **asked: object) -> None:
    """Tell it; `origin` is the caller's address, `asked` says how it was asked for, `now` is Unix seconds."""
    about: dict[str, object] = {
        "api": api,
        "metric": answer.rule.name,
        **asked,
        "value": answer.total,
        "items": len(answer.items),
        "age_seconds": round(now - answer.oldest, 3),
        "source": answer.source,
    }
    if not audit.written(user, "read metric", "answered", origin={"from": origin}, about=about):
        log.info("answered", user=user, **{"from": origin}, **about)


def denied(denials: Denials, refused: Denied, action: str, user: str = "", origin: str = "") -> None:
    """Tell it, `user` where one is known, unless there are too many of its cause; `unlogged` is how many were."""
    unlogged = denials.untold(refused.cause)
    if unlogged is None:
        return
    about: dict[str, object] = {"cause": refused.cause, "why": refused.message[:_LONGEST]}
    if refused.__cause__ is not None:
        about["error"] = str(refused.__cause__)
    if unlogged:
        about["unlogged"] = unlogged
    audit.written(user, action[:_LONGEST], "denied", origin={"from": origin}, about=about)
    # In the log as well: who looks there has to put it right.
    told = {"user": user} if user else {}
    log.warning("denied", **told, **{"from": origin}, action=action[:_LONGEST], **about)
