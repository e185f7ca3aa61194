"""Lineup: the trained parts of a target that are in use, in memory and on disk."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.errors import StoreError
from forecaster.config import Target
from forecaster.frame import Frame
from forecaster.meters import Meters
from forecaster.model import Predictor, State, label_key
from forecaster.models import build
from forecaster.parted import Part, PartedPredictor
from forecaster.registry import About, Registry, StoredPart

FLOOR = ("seasonal_naive",)
"""The model that forecasts a series until it is trained, and that every other must beat."""
QUICK = ("lstm", "profile")
"""The models that are quick enough to be fitted within a round, the better one first: 13 ms a series."""
QUICK_SERIES = 50
"""So many in one round; the others wait for the next, or for their training."""

log = logs.get(__name__)


class Lineup:
    """The newest whole version, what was trained since for the version under way, and what was fitted on the spot.

    A full disk is logged and counted, and parts are used from memory. For one thread.
    """

    def __init__(self, target: Target, registry: Registry, meters: Meters, clock: Clock) -> None:
        self._target = target
        self._registry = registry
        self._meters = meters
        self._clock = clock
        self._model = build(target.models, target.calendar)
        nothing = Frame(0.0, float(target.step), (), np.empty((0, 0)))
        self._floor = build(FLOOR, target.calendar).fit(nothing, target.steps)
        quick = next((name for name in QUICK if target.models == "auto" or name in target.models), None)
        self._quick_model = build((quick,), target.calendar) if quick else None
        self._quick: list[Part] = []
        self._not_quick: set[str] = set()  # could not be fitted on the spot
        self._whole: list[Part] = []
        self._under_way: list[Part] = []
        self._number = 0  # of the newest whole version
        self._open: int | None = None  # of the version under way
        self._unsaved: list[Part] = []  # of the version under way
        self._in_use = PartedPredictor.of([], self._floor)

    @property
    def version(self) -> int:
        """The newest version that is in use, whole or under way; 0 before the first training."""
        return self._in_use.version

    @property
    def trained(self) -> set[str]:
        """The series that were ever trained, as far as that is still in use."""
        return {key for part in (*self._whole, *self._under_way) for key in part.keys}

    @property
    def trained_since(self) -> set[str]:
        """The series that were trained since the newest whole version."""
        return {key for part in self._under_way for key in part.keys}

    def load(self) -> dict[str, float]:
        """Take up what is on disk. Gives for each series the Unix time from which its model's age counts."""
        newest = self._registry.newest()
        counts_from = newest.counts_from if newest else 0.0
        self._number = newest.number if newest else 0
        self._whole = self._restored(self._number) if newest else []
        self._under_way, self._open, self._unsaved = [], None, []
        for number in self._registry.under_way():  # several, where a full disk kept one from becoming whole
            if parts := self._restored(number):
                self._under_way, self._open = [*self._under_way, *parts], number
        self._assemble()
        if self.version:
            log.info("models restored", forecast=self._target.name, version=self.version)
        return {key: max(part.trained_at, counts_from) for part in self._in_use.parts for key in part.keys}

    def rolled_back(self) -> bool:
        """Whether a command has made a version newer than all that is known here: then `load` again."""
        return max(self._registry.numbers(), default=0) > max(self._number, self._open or 0)

    def predictor(self, frame: Frame) -> PartedPredictor:
        """The models in use; some series of `frame` that none was trained on are first fitted on the spot.

        `frame` has all series that there are: what was fitted on the spot for others goes.
        """
        if self._quick_model is not None:
            keys = [label_key(labels) for labels in frame.labels]
            self._not_quick &= set(keys)
            known = self._in_use.owner.keys() | self._not_quick
            strange = [key for key in keys if key not in known]
            if anew := set((strange + self._scattered(keys))[:QUICK_SERIES]):
                rows = [row for row, key in enumerate(keys) if key in anew]
                self._fit_quickly(self._quick_model.fit, frame.select(rows))
        return self._in_use

    def restore(self, state: State) -> Predictor:
        """What a worker trained, alive again. Raises whatever a model raises that can't."""
        return self._model.restore(state)

    def take(self, keys: tuple[str, ...], predictor: Predictor, state: State, about: About) -> None:
        """Store a finished part in the version under way, and use it."""
        if self._open is None:
            self._open = max(self._number, self.version) + 1
            self._stored(self._begin)
        self._add(Part(keys, predictor, self._open, about), state)
        self._assemble()

    def finish(self, kept: Collection[str]) -> bool:
        """Make the version under way whole; a series of `kept` that isn't in it keeps the model it has.

        Whether there is none under way any more: with a full disk it stays so, to be tried again.
        """
        if self._open is None:
            return True
        for part in self._owners_of(kept):
            if part.about and part.version != self._open:
                self._add(replace(part, version=self._open), part.predictor.state())
        self._assemble()
        if not self._stored(functools.partial(self._save_whole, self._open)):
            return False
        self._number, self._open = self._open, None
        self._whole, self._under_way = self._under_way, []
        self._assemble()
        log.info("trained", forecast=self._target.name, version=self._number, series=len(self.trained))
        return True

    def note(self, mase: Mapping[str, float]) -> None:
        """Keep with the newest whole version how forecasts do, live, if it is still on disk. Raises StoreError."""
        if self._number in self._registry.numbers():
            self._registry.note(self._number, mase)

    def _owners_of(self, keys: Collection[str]) -> list[Part]:
        owner = self._in_use.owner
        return [self._in_use.parts[i] for i in sorted({owner[key] for key in keys if key in owner})]

    def _add(self, part: Part, state: State) -> None:
        self._under_way.append(part)
        if not self._stored(lambda: self._save(part, state)):
            self._unsaved.append(part)

    def _begin(self) -> None:
        self._open = self._registry.begin()

    def _save_whole(self, number: int) -> None:
        while self._unsaved:
            self._save(self._unsaved[0], self._unsaved[0].predictor.state())
            del self._unsaved[0]
        self._registry.finish(number, self._target.purpose, self._clock())

    def _save(self, part: Part, state: State) -> None:
        assert part.about is not None
        self._registry.add(part.version, StoredPart(part.keys, state, part.about, self._target.purpose))

    def _restored(self, number: int) -> list[Part]:
        """The parts of a version that serve this target."""
        parts = []
        stored = self._registry.parts(number)
        ours = [part for part in stored if part.purpose == self._target.purpose]
        if len(ours) < len(stored):
            log.info("config changed, models are trained anew", forecast=self._target.name, version=number)
        for part in ours:
            try:
                parts.append(Part(part.keys, self.restore(part.state), number, part.about))
            except Exception as error:  # noqa: BLE001  whatever a model raises for the state of another kind
                log.error(
                    "models of another kind are left, their series trained anew",
                    forecast=self._target.name,
                    error=repr(error),
                )
        return parts

    def _scattered(self, served: Sequence[str]) -> list[str]:
        """The series of `served` in parts fitted on the spot that are mostly of others by now; empty parts are dropped.

        Fitted anew together they are one part: where series live for minutes there would be ever more.
        """
        if not self._quick:
            return []
        owner, parts, there = self._in_use.owner, self._in_use.parts, frozenset(served)
        left = [
            (part, [key for key in part.keys if key in there and parts[owner[key]] is part]) for part in self._quick
        ]
        if not all(keys for _, keys in left):
            self._quick = [part for part, keys in left if keys]
            self._assemble()
        scattered = (keys for part, keys in left if 2 * len(keys) < len(part.keys))
        return [key for keys in scattered for key in keys if key not in self._not_quick]

    def _fit_quickly(self, fit: Callable[[Frame, int], Predictor], frame: Frame) -> None:
        keys = tuple(label_key(labels) for labels in frame.labels)
        try:
            self._quick.append(Part(keys, fit(frame, self._target.steps)))
        except Exception as error:  # noqa: BLE001  any failure of a model: the floor speaks
            log.error("new series can't be fitted yet", forecast=self._target.name, error=repr(error))
            self._not_quick |= set(keys)
        self._assemble()

    def _assemble(self) -> None:
        """In use is the newest training of each series, else what was fitted on the spot."""
        trained = sorted((*self._whole, *self._under_way), key=lambda part: part.trained_at)
        known = {key for part in trained for key in part.keys}
        self._quick = [part for part in self._quick if not known.issuperset(part.keys)]
        self._in_use = PartedPredictor.of([*self._quick, *trained], self._floor)
        used = set(map(id, self._in_use.parts))
        self._whole = [part for part in self._whole if id(part) in used]
        self._under_way = [part for part in self._under_way if id(part) in used]
        self._unsaved = [part for part in self._unsaved if id(part) in used]

    def _stored(self, save: Callable[[], None]) -> bool:
        """Whether `save` could be done; a full disk is logged and counted."""
        try:
            save()
        except StoreError as error:
            self._meters.error(self._target.name, "store")
            log.error("models not saved, used from memory", forecast=self._target.name, error=str(error))
            return False
        return True
