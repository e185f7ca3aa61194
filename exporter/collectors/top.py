"""The processes that take most CPU and memory, by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloudpulse import names
from exporter.config import TopSettings
from exporter.families import Family, many
from exporter.processes import Process, Processes

_MEMORY_SECONDS = 300.0
"""After this time, CPU spent counts 1/e for the ranking: a name doesn't come and go with every scrape."""
_KEPT_NAMES = 1000
"""Names whose sum is kept although none of their processes runs now, before they are forgotten."""
_LONGEST = 200
_REPLACED = "\ufffd"
"""Where a name isn't UTF-8. PromQL takes it for an error of encoding: a series with it could not be asked for."""


@dataclass(frozen=True)
class _Seen:
    """A process at the last scrape."""

    started: float
    comm: str
    cpu_seconds: float
    name: str


class TopCollector:
    """Sums the CPU that processes spend by name, and shows the names that are at the top. One thread at a time.

    The sum of a name only grows, whichever processes end and begin and whether the name is shown or not, so that
    `topk(5, rate(…))` tells the truth. It begins at 0 with the first scrape: once the exporter has restarted,
    Prometheus takes all that it shows for spent since. What a process spends between the last scrape and its end is
    missed.
    """

    def __init__(
        self,
        settings: TopSettings,
        processes: Processes,
        command_line: Callable[[int], str],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = settings.count
        self._processes = processes
        self._command_line = command_line if settings.command_line else None
        self._seconds = seconds
        self._seen: Mapping[int, _Seen] = {}
        self._spent: dict[str, float] = {}
        self._recent: dict[str, float] = {}
        self._read_at: float | None = None

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        processes = [one for one in self._processes() if one.cpu_seconds is not None and one.started is not None]
        self._add(processes)
        memory: dict[str, int] = {}
        count: dict[str, int] = {}
        for one in processes:
            name = self._seen[one.pid].name
            memory[name] = memory.get(name, 0) + (one.rss_bytes or 0)
            count[name] = count.get(name, 0) + 1
        self._forget(count)
        shown = sorted({*self._first(memory), *self._first({name: self._recent[name] for name in count})})
        yield many(names.TOP_CPU, (((name,), round(self._spent[name], 3)) for name in shown))
        yield many(names.TOP_MEMORY, (((name,), memory[name]) for name in shown))
        yield many(names.TOP_PROCESSES, (((name,), count[name]) for name in shown))

    def _first(self, values: Mapping[str, float]) -> list[str]:
        ranked = sorted((name for name in values if values[name] > 0), key=lambda name: (-values[name], name))
        return ranked[: self._count]

    def _add(self, processes: Sequence[Process]) -> None:
        """Count what each process spent since the last scrape: all of it, if it began since."""
        now, first = self._seconds(), self._read_at is None
        fading = 1.0 if self._read_at is None else math.exp((self._read_at - now) / _MEMORY_SECONDS)
        self._recent = {name: spent * fading for name, spent in self._recent.items()}
        shift = self._shift(processes)
        newest = max((_started(one) for one in processes), default=0.0)
        seen = {}
        for one in processes:
            before = self._before(one, shift)
            cpu = one.cpu_seconds or 0.0
            spent = cpu - before.cpu_seconds if before else cpu
            name = before.name if before and before.comm == one.comm else self._name(one)
            seen[one.pid] = _Seen(_started(one), one.comm, cpu, name)
            self._spent[name] = self._spent.get(name, 0.0) + (0.0 if first else spent)
            # Nobody has seen when it was spent before the first scrape: evenly over the process' life.
            recent = spent * _MEMORY_SECONDS / max(newest - _started(one), _MEMORY_SECONDS) if first else spent
            self._recent[name] = self._recent.get(name, 0.0) + recent
        self._seen, self._read_at = seen, now

    def _before(self, one: Process, shift: float) -> _Seen | None:
        """The same process at the last scrape; a pid alone is another's soon."""
        before = self._seen.get(one.pid)
        if before is None or (one.cpu_seconds or 0.0) < before.cpu_seconds:
            return None
        return before if abs(_started(one) - before.started - shift) < 1 else None

    def _shift(self, processes: Sequence[Process]) -> float:
        """By how much all starts have moved: they are seconds since boot, and the clock may have been set since."""
        moved = sorted(_started(one) - self._seen[one.pid].started for one in processes if one.pid in self._seen)
        return moved[len(moved) // 2] if moved else 0.0

    def _name(self, one: Process) -> str:
        text = self._command_line(one.pid) if self._command_line else ""
        if not text:
            # The kernel's own threads have no memory, and one name each: kworker/0:1-events.
            text = one.comm if one.rss_bytes else one.comm.partition("/")[0]
        shown = text[:_LONGEST]
        if not shown.isprintable() or _REPLACED in shown:
            shown = "".join(letter if letter.isprintable() and letter != _REPLACED else "?" for letter in shown)
        return shown or "unnamed"

    def _forget(self, running: Mapping[str, int]) -> None:
        if len(self._spent) > len(running) + _KEPT_NAMES:
            self._spent = {name: self._spent[name] for name in running}
            self._recent = {name: self._recent[name] for name in running}


def _started(one: Process) -> float:
    return one.started or 0.0
