"""The line for each value that was given out: to whom, what, how old, from where; and for callers that were denied."""

from __future__ import annotations

from cloudpulse import logs
from cloudpulse.denials import Denials
from scaler.provider import Answer
from scaler.refusal import Denied

_LONGEST = 300

log = logs.get(__name__)


def answered(user: str, api: str, answer: Answer, now: float, **asked: object) -> None:
    """Log it; `asked` says how it was asked for, `now` is Unix seconds."""
    log.info(
        "answered",
        user=user,
        api=api,
        metric=answer.rule.name,
        **asked,
        value=answer.total,
        items=len(answer.items),
        age_seconds=round(now - answer.oldest, 3),
        source=answer.source,
    )


def denied(denials: Denials, refused: Denied, action: str, user: str = "") -> None:
    """Log it, `user` where one is known, unless there are too many of its cause; `unlogged` is how many were."""
    unlogged = denials.untold(refused.cause)
    if unlogged is None:
        return
    about: dict[str, object] = {"user": user} if user else {}
    if refused.__cause__ is not None:
        about["error"] = str(refused.__cause__)
    if unlogged:
        about["unlogged"] = unlogged
    log.warning("denied", **about, action=action[:_LONGEST], cause=refused.cause, why=refused.message[:_LONGEST])
