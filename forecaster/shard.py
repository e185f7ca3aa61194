"""Shard: which series are this process' own when several forecasters share one config."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass

from cloudpulse.errors import ConfigError
from cloudpulse.promql import Labels, MetricSource, Sample, Series
from forecaster.model import label_key

_FORM = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@functools.lru_cache(maxsize=2**16)  # the series of some rounds: most are the same in the next
def place(key: str) -> int:
    """A number below 2**64 for a `label_key`: the same on every machine and in every version."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Shard:
    """The series whose place leaves the rest `index` when divided by `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`0/3` is the first of three. Raises ConfigError."""
        match = _FORM.fullmatch(text.strip())
        index, count = (int(part) for part in match.groups()) if match else (0, 0)
        if index >= count:
            raise ConfigError(f'--shard: expected i/n with i from 0 to n-1, such as 0/3, 1/3 and 2/3, got "{text}"')
        return cls(index, count)

    @property
    def suffix(self) -> str:
        """For the names of files that depend on it; empty for one of one."""
        return "" if self.count == 1 else f".{self.index}-of-{self.count}"

    def holds(self, labels: Labels) -> bool:
        """Whether the series of these labels is ours; the metric name doesn't count, as it is not exported."""
        key = label_key({name: value for name, value in labels.items() if name != "__name__"})
        return self.count == 1 or place(key) % self.count == self.index

    def only(self, source: MetricSource) -> MetricSource:
        """`source`, answering with our series alone."""
        return source if self.count == 1 else _Sharded(source, self)


@dataclass(frozen=True)
class _Sharded:
    source: MetricSource
    shard: Shard

    def instant(self, query: str, at: float | None = None) -> list[Sample]:
        return [one for one in self.source.instant(query, at) if self.shard.holds(one.labels)]

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        return [one for one in self.source.range(query, start, end, step) if self.shard.holds(one.labels)]
