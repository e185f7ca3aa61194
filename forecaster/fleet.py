"""Fleet: pods that start, become ready, and stop, as a ReplicaSet has them; its Scale is what that was over time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.backtest import Floats


@dataclass(frozen=True)
class Scale:
    """Pods over time: from `times[i]` (Unix seconds) on `pods[i]` exist, of which `ready[i]` serve."""

    times: Floats
    pods: NDArray[np.intp]
    ready: NDArray[np.intp]

    def changes(self) -> tuple[Floats, NDArray[np.intp]]:
        """When the number of pods changed, and by how many."""
        sizes = np.diff(self.pods)
        changed = sizes != 0
        return self.times[1:][changed], sizes[changed]


class Fleet:
    """Pods as a ReplicaSet has them: started ones become ready in their order, the newest stop first."""

    def __init__(self, now: float, pods: int, ready_seconds: float) -> None:
        self.pods = pods
        self._ready = pods
        self._ready_seconds = ready_seconds
        self._starting: deque[tuple[float, int]] = deque()  # (when ready, how many), the oldest first
        self._steps: list[tuple[float, int, int]] = [(now, pods, pods)]

    def scale(self, now: float, pods: int) -> None:
        """Start or stop pods, so that there are `pods` from `now` on."""
        self._ripen(now)
        if pods > self.pods:
            self._starting.append((now + self._ready_seconds, pods - self.pods))
        else:
            self._stop(self.pods - pods)
        self.pods = pods
        self._steps.append((now, pods, self._ready))

    def history(self, end: float) -> Scale:
        """All steps, those by pods that become ready up to `end` among them."""
        self._ripen(end)
        times, pods, ready = zip(*self._steps, strict=True)
        return Scale(np.array(times), np.array(pods, np.intp), np.array(ready, np.intp))

    def _ripen(self, now: float) -> None:
        while self._starting and self._starting[0][0] <= now:
            when, count = self._starting.popleft()
            self._ready += count
            self._steps.append((when, self.pods, self._ready))

    def _stop(self, count: int) -> None:
        while count and self._starting:
            when, starting = self._starting.pop()
            if starting > count:
                self._starting.append((when, starting - count))
            count -= min(count, starting)
        self._ready -= count
