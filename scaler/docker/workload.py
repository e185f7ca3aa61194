"""What has replicas and can be given more or fewer of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Replicas:
    """How many there are to be, and how many of them serve now.

    `held` says why the number must be left alone for now, "" when nothing speaks against a change. `problem` is what
    someone should look at, though it holds nothing up.
    """

    wanted: int
    ready: int
    held: str = ""
    problem: str = ""


class Workload(Protocol):
    """One service on the Engine. For one thread."""

    def read(self) -> Replicas:
        """What the Engine has; raises EngineError."""

    def scale(self, seen: int, replicas: int) -> None:
        """Have `replicas` instead of `seen`, and change nothing else.

        Raises ChangedMeanwhile when `seen` is no longer so, and EngineError. A failure may leave a number in between,
        never one beyond the two.
        """

    def close(self) -> None:
        """Let go of the connections, after what is under way."""
