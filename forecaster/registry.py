"""Versions of trained models: one checksummed file each, numbered upwards, the newest good one in use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from cloudpulse import __version__, logs
from cloudpulse.errors import CorruptFile
from forecaster import storage
from forecaster.model import State

KEPT = 5
"""Versions kept for each target."""

log = logs.get(__name__)


@dataclass(frozen=True)
class About:
    """A training: when, on what, for what."""

    trained_at: float  # Unix seconds
    data_start: float  # Unix seconds, first column
    data_end: float  # Unix seconds, last column
    series: int
    purpose: str  # `Target.purpose`; models serve no other
    code: str = __version__


@dataclass(frozen=True)
class Version:
    """What came of a training."""

    number: int
    state: State
    about: About


class Registry:
    """The versions of one target, in one folder. Not for several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, state: State, about: About) -> Version:
        """Store a new version and drop the oldest ones. Raises StoreError."""
        number = max(self.numbers(), default=0) + 1
        facts = {"about": asdict(about), "state": dict(state.facts)}
        storage.write(self._path(number), State(state.arrays, facts))
        for old in self.numbers()[:-KEPT]:
            self._path(old).unlink(missing_ok=True)
        return Version(number, state, about)

    def newest(self) -> Version | None:
        """The newest version that reads well; a corrupt one is logged and passed over. None without any."""
        for number in reversed(self.numbers()):
            try:
                return self.load(number)
            except CorruptFile as error:
                log.error("model version passed over", error=str(error))
        return None

    def load(self, number: int) -> Version:
        """One version. Raises StoreError and CorruptFile."""
        stored = storage.read(self._path(number))
        try:
            about, facts = stored.facts["about"], stored.facts["state"]
            return Version(number, State(stored.arrays, facts), About(**about))
        except (KeyError, TypeError) as error:
            raise CorruptFile(f"{self._path(number)}: not a model version: {error}") from error

    def numbers(self) -> list[int]:
        """The versions that exist, rising."""
        found = (path.stem for path in self._folder.glob(f"*{storage.SUFFIX}"))
        return sorted(int(stem) for stem in found if stem.isdecimal())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}{storage.SUFFIX}"
