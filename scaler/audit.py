"""The line for each value that was given out: to whom, what, how old, from where."""

from __future__ import annotations

from cloudpulse import logs
from scaler.provider import Answer

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
