"""All forecasts at a glance, as JSON: what they are, what is odd, what will cross. Made once for all who ask."""

from __future__ import annotations

import hashlib
import threading
import weakref
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from cloudpulse.clock import Clock
from forecaster.config import Target
from forecaster.rounds import Rounds
from forecaster.store import ForecastStore, Issue
from forecaster.table import Table, ids

_encode = msgspec.json.Encoder().encode  # NaN and infinity become null


@dataclass(frozen=True)
class Page:
    """An answer, ready to be sent: as it is, and compressed."""

    body: bytes
    gzipped: bytes
    tag: str  # changes with the content


def paged(body: bytes) -> Page:
    """`body`, ready to be sent."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    gzipped = packer.compress(body) + packer.flush()
    return Page(body, gzipped, hashlib.blake2b(body, digest_size=12).hexdigest())


class Overview:
    """Rows by target, kept as long as its Issue stays the same, and the answer made of all. For several threads.

    Several clients at once cost no more than one: who comes while an answer is made waits for it.
    """

    def __init__(self, store: ForecastStore, rounds: Rounds, clock: Clock) -> None:
        self._store = store
        self._rounds = rounds
        self._clock = clock
        self._lock = threading.Lock()
        self._tables: dict[str, Table] = {}
        self._made_of: _MadeOf | None = None
        self._page = Page(b"", b"", "")

    def page(self) -> Page:
        """The overview; `now` in it is when it was made, and what its `seconds` count from.

        It is made anew when an Issue, a state or a target changes, which is every round at the latest.
        """
        with self._lock:
            issues, states, targets = self._store.fresh(), self._rounds.states(), self._rounds.targets()
            made_of = _MadeOf(issues, states, targets)
            if self._made_of is None or not self._made_of.same(made_of):
                self._page = self._render(issues, states, targets)
                self._made_of = made_of
            return self._page

    def table(self, issue: Issue) -> Table:
        """The rows of one target."""
        with self._lock:
            return self._table(issue)

    def _table(self, issue: Issue) -> Table:
        name = issue.target.name
        kept = self._tables.get(name)
        if kept is None or not kept.shows(issue):
            kept = self._tables[name] = Table(issue, ids(name, issue.forecast.labels, kept))
        return kept

    def _render(self, issues: Sequence[Issue], states: Mapping[str, str], targets: Sequence[Target]) -> Page:
        by_name = {issue.target.name: issue for issue in issues}
        known = {target.name: target for target in targets} | {name: one.target for name, one in by_name.items()}
        self._tables = {name: table for name, table in self._tables.items() if name in by_name}
        now = self._clock()
        forecasts = [summary(known[name], by_name.get(name), states.get(name, "starting")) for name in sorted(known)]
        rows = b",".join(row for issue in issues for row in self._table(issue).rows(now))
        head = _encode({"now": round(now, 3), "forecasts": forecasts})
        body = head[:-1] + b',"rows":[' + rows + b"]}"
        return paged(body)


class _MadeOf:
    """What an answer was made of. It keeps no Issue alive, which is large: nobody may ask again for days."""

    def __init__(self, issues: Sequence[Issue], states: Mapping[str, str], targets: Sequence[Target]) -> None:
        self._issues = [weakref.ref(issue) for issue in issues]
        self._rest = (states, targets)

    def same(self, other: _MadeOf) -> bool:
        """Whether it is still so."""
        if self._rest != other._rest or len(self._issues) != len(other._issues):
            return False
        pairs = zip(self._issues, other._issues, strict=True)
        return all(one() is not None and one() is another() for one, another in pairs)


def summary(target: Target, issue: Issue | None, state: str) -> dict[str, Any]:
    """A forecast without its series; what is not known of it yet is None."""
    trained = issue is not None and bool(issue.version)
    return {
        "name": target.name,
        "query": target.query,
        "step_seconds": float(target.step),
        "horizons": [str(horizon) for horizon in target.horizons],
        "levels": list(target.levels),
        "thresholds": [{"value": one.value, "direction": one.direction} for one in target.crossings],
        "state": state,
        "issued_at": issue.issued_at if issue else None,
        "trained_at": issue.trained_at if issue and trained else None,
        "model_version": issue.version if issue and trained else None,
        "series_count": len(issue.forecast.labels) if issue else 0,
    }
