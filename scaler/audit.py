"""The line for each value that was given out: to whom, what, how old, from where; and for callers that were denied."""

from __future__ import annotations

import threading

from cloudpulse import logs
from cloudpulse.clock import Clock
from scaler.provider import Answer
from scaler.refusal import Denied

MOST_DENIALS = 10
DENIALS_SECONDS = 60.0
"""In so many seconds no more than these are logged of each cause: anyone can be denied as often as they like."""
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


class Denials:
    """The lines of callers that were denied. For several threads; `ticks` must not jump."""

    def __init__(self, ticks: Clock) -> None:
        self._ticks = ticks
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[float, int]] = {}

    def tell(self, denied: Denied, action: str, user: str = "") -> None:
        """Log it, `user` where one is known; `unlogged` are those of its cause that came since the last line."""
        with self._lock:
            now = self._ticks()
            began, count = self._counts.get(denied.cause, (now, 0))
            unlogged = 0
            if now - began >= DENIALS_SECONDS:
                unlogged, began, count = max(0, count - MOST_DENIALS), now, 0
            self._counts[denied.cause] = began, count + 1
            if count >= MOST_DENIALS:
                return
        about: dict[str, object] = {"user": user} if user else {}
        if denied.__cause__ is not None:
            about["error"] = str(denied.__cause__)
        if unlogged:
            about["unlogged"] = unlogged
        log.warning("denied", **about, action=action[:_LONGEST], cause=denied.cause, why=denied.message[:_LONGEST])
