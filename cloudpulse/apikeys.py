"""API keys: long random texts, given to people and programs one by one, of which the config holds only hashes.

A key is made by `openssl rand -hex 32`, its hash by `printf %s THE_KEY | sha256sum`. One round of SHA-256 is right
for such a text, as bcrypt is for a password: nobody finds 32 random bytes by trying, however fast the hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from cloudpulse.config import Section, exactly_one, file_text
from cloudpulse.errors import ConfigError

Role = Literal["read", "write"]

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


class ApiKey(Section, frozen=True):
    """Whose key it is, its SHA-256 in hex, or a file with that (as sha256sum writes it); `write` includes reading."""

    name: str
    sha256: str | None = None
    sha256_file: Path | None = None
    role: Role = "read"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: expected whose key it is, such as anna, got an empty text")
        exactly_one(sha256=self.sha256, sha256_file=self.sha256_file)
        check_sha256(self.sha256)


class ApiKeys:
    """The keys of a config; files are read once, here. Raises ConfigError when one can't be."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = [(key, digest(key.name, key.sha256, key.sha256_file)) for key in keys]

    def __len__(self) -> int:
        return len(self._keys)

    def owner(self, given: Iterable[bytes]) -> ApiKey | None:
        """The key that one of the texts is; compares all with all, so that the time taken tells nothing."""
        found = None
        for digest in [hashlib.sha256(text).digest() for text in given]:
            for key, known in self._keys:
                if hmac.compare_digest(digest, known):
                    found = key
        return found


def check_sha256(written: str | None) -> None:
    """Raise ValueError for what is no hash; what it is instead may be the secret itself, and isn't shown."""
    if written is not None and not _DIGEST.fullmatch(written):
        raise ValueError("sha256: expected 64 hex digits: printf %s THE_KEY | sha256sum")


def digest(name: str, sha256: str | None, sha256_file: Path | None) -> bytes:
    """The hash that the config has of what is called `name`; raises ConfigError when its file can't be used."""
    if sha256 is not None:
        return bytes.fromhex(sha256)
    assert sha256_file is not None
    first = next(iter(file_text(sha256_file, f"the hash of {name}").split()), "")
    if not _DIGEST.fullmatch(first):
        raise ConfigError(f"{sha256_file}: expected the hash of {name}, 64 hex digits as sha256sum writes them")
    return bytes.fromhex(first)
