"""Versions of a target's models: a folder each, with a file for every part and a manifest that is written last.

    000007/manifest.json        what the version is; a folder without one is a version under way
    000007/0001.safetensors     one part: who is in it, and the State of its Predictor

Versions count up and the newest whole one is in use, so a rollback is a new version with the parts of an old one.
A reader passes over facts that it doesn't know, so that a minor version may add some; `FORMAT` changes with a meaning.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cloudpulse import __version__, logs
from cloudpulse.errors import CorruptFile, StoreError
from cloudpulse.folders import sync
from forecaster import storage
from forecaster.model import State

FORMAT = 1
KEPT = 5
"""Whole versions kept for each target."""
_MANIFEST = "manifest.json"

log = logs.get(__name__)


class About(msgspec.Struct, frozen=True):
    """One part: when it was trained, on what, and what came of it."""

    trained_at: float  # Unix seconds at which the training began
    data_start: float  # Unix seconds, first column
    data_end: float  # Unix seconds, last column
    series: int
    seconds: float  # from handed out to finished
    weights: dict[str, float] = {}  # model -> its mean share over the series
    code: str = __version__


@dataclass(frozen=True)
class StoredPart:
    """One part as it lies on disk."""

    keys: tuple[str, ...]  # its series, each as `label_key` gives it
    state: State
    about: About
    purpose: str  # `Target.purpose`; models serve no other


class PartFile(msgspec.Struct, frozen=True):
    """A part in the manifest."""

    file: str
    sha256: str  # of the file, as `sha256sum` prints it
    about: About


class Manifest(msgspec.Struct, frozen=True):
    """A whole version."""

    number: int
    purpose: str
    parts: tuple[PartFile, ...]
    finished_at: float  # Unix seconds
    code: str = __version__
    rollback_of: int | None = None
    mase: dict[str, float] = {}  # horizon -> median over the series, live, as last measured while in use
    format: int = FORMAT

    @property
    def series(self) -> int:
        """Series in it; one that is in two parts counts twice."""
        return sum(part.about.series for part in self.parts)

    @property
    def trained_at(self) -> float:
        """Unix time at which the newest training began."""
        return max(part.about.trained_at for part in self.parts)

    @property
    def counts_from(self) -> float:
        """Unix time before which its models don't count as old: a rollback is not undone by the next training."""
        return self.finished_at if self.rollback_of is not None else 0.0


class Registry:
    """The versions of one target, in one folder. A process that trains and commands that look, roll back and prune
    may use it at the same time; not for several threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def numbers(self) -> list[int]:
        """The whole versions, rising."""
        return [number for number in self._all() if (self._path(number) / _MANIFEST).exists()]

    def under_way(self) -> list[int]:
        """Versions that were begun after the newest whole one, rising."""
        whole = self.numbers()
        return [number for number in self._all() if number > (whole[-1] if whole else 0)]

    def newest(self) -> Manifest | None:
        """The newest whole version whose manifest reads well; others are logged and passed over."""
        for number in reversed(self.numbers()):
            try:
                return self.manifest(number)
            except StoreError as error:
                log.error("model version passed over", error=str(error))
        return None

    def manifest(self, number: int) -> Manifest:
        """Raises StoreError and CorruptFile."""
        path = self._path(number) / _MANIFEST
        try:
            facts = json.loads(path.read_bytes())
            form, checksum = facts["format"], facts.pop("checksum")
            if form != FORMAT:
                raise CorruptFile(f"{path}: format {form}, this CloudPulse reads {FORMAT}: use the one that wrote it")
            if checksum != _checksum(facts):
                raise CorruptFile(f"{path}: its checksum is wrong; delete the folder to do without this version")
            return msgspec.convert(facts, Manifest)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # JSON's and msgspec's are ValueErrors
            raise CorruptFile(f"{path}: not the manifest of a version: {error}") from error
        except OSError as error:
            raise StoreError(f"{path}: can't be read: {error.strerror}") from error

    def parts(self, number: int) -> list[StoredPart]:
        """The parts of a version, also of one under way; a corrupt one is logged and left out."""
        return [part for _, part in self._read(number)]

    def begin(self) -> int:
        """The number of a new version, under way. Raises StoreError."""
        number = max(self._all(), default=0) + 1
        try:
            self._path(number).mkdir(parents=True)
            sync(self._folder)
        except OSError as error:
            raise StoreError(f"{self._path(number)}: can't be made: {error.strerror}") from error
        return number

    def add(self, number: int, part: StoredPart) -> None:
        """Put a part into the version under way. Raises StoreError."""
        folder = self._path(number)
        last = max((int(path.stem) for path in folder.glob(f"*{storage.SUFFIX}")), default=0)
        about = msgspec.to_builtins(part.about)
        facts = {"keys": list(part.keys), "about": about, "purpose": part.purpose, "state": dict(part.state.facts)}
        storage.write(folder / f"{last + 1:04d}{storage.SUFFIX}", State(part.state.arrays, facts))

    def finish(self, number: int, purpose: str, now: float) -> Manifest:
        """Make the version under way whole. Raises StoreError.

        Parts whose series are all in newer ones go, and so do the oldest versions.
        """
        stored = sorted(self._read(number), key=lambda pair: pair[1].about.trained_at)
        newest = {key: path for path, part in stored for key in part.keys}
        kept = [(path, part) for path, part in stored if path in set(newest.values())]
        if not kept:
            raise StoreError(f"{self._path(number)}: no part of this version can be read")
        files = tuple(PartFile(path.name, _sha256(path), part.about) for path, part in kept)
        manifest = Manifest(number, purpose, files, now)
        self._write(manifest, self._path(number))
        for path in {path for path, _ in stored} - set(newest.values()):
            path.unlink(missing_ok=True)
        self.prune(KEPT)
        return manifest

    def note(self, number: int, mase: Mapping[str, float]) -> None:
        """Keep with a whole version how it did, live. Raises StoreError."""
        manifest = self.manifest(number)
        if manifest.mase != mase:
            self._write(msgspec.structs.replace(manifest, mase=dict(mase)), self._path(number))

    def roll_back(self, number: int, now: float) -> Manifest:
        """A new version, the newest, with the parts of `number`. Raises StoreError and CorruptFile."""
        old = self.manifest(number)
        for part in old.parts:
            _part(self._path(number) / part.file)
        new = max(self._all()) + 1
        temporary = self._folder / ".rollback"
        try:
            shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
            temporary.mkdir()
            for part in old.parts:
                shutil.copyfile(self._path(number) / part.file, temporary / part.file)
            manifest = msgspec.structs.replace(old, number=new, finished_at=now, rollback_of=number, mase={})
            self._write(manifest, temporary)
            temporary.rename(self._path(new))
            sync(self._folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise StoreError(f"{self._folder}: can't make version {new}: {error.strerror}; nothing changed") from error
        return manifest

    def prune(self, keep: int) -> list[int]:
        """Delete all whole versions but the newest `keep`, and what was never finished. Raises StoreError."""
        whole = self.numbers()
        gone = whole[:-keep] if keep else []
        idle = set(self._all()) - set(whole) - set(self.under_way())
        for number in sorted({*gone, *idle}):
            try:
                # Without its manifest it is no version any more, wherever the rest of this ends.
                (self._path(number) / _MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(self._path(number))
            except OSError as error:
                raise StoreError(f"{self._path(number)}: can't be deleted: {error.strerror}") from error
        return gone

    def size(self, number: int) -> int:
        """Bytes on disk."""
        sizes = []
        for path in self._path(number).glob("*"):
            with contextlib.suppress(OSError):
                sizes.append(path.stat().st_size)
        return sum(sizes)

    def _read(self, number: int) -> list[tuple[Path, StoredPart]]:
        found = []
        for path in sorted(self._path(number).glob(f"*{storage.SUFFIX}")):
            try:
                found.append((path, _part(path)))
            except StoreError as error:
                log.error("part of the models left out, its series are trained anew", error=str(error))
        return found

    def _all(self) -> list[int]:
        return sorted(int(path.name) for path in self._folder.glob("*") if path.name.isdecimal() and path.is_dir())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}"

    @staticmethod
    def _write(manifest: Manifest, folder: Path) -> None:
        facts = msgspec.to_builtins(manifest)
        content = json.dumps({**facts, "checksum": _checksum(facts)}, indent=1, allow_nan=False)
        storage.put(folder / _MANIFEST, content.encode())


def _part(path: Path) -> StoredPart:
    stored = storage.read(path)
    try:
        facts: Mapping[str, Any] = stored.facts
        about = msgspec.convert(facts["about"], About)
        return StoredPart(tuple(facts["keys"]), State(stored.arrays, facts["state"]), about, facts["purpose"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{path}: not a part of a version: {error}") from error


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StoreError(f"{path}: can't be read: {error.strerror}") from error


def _checksum(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
