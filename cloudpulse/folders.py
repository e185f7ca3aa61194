"""A service's data_dir: claimed by one process, and made durable."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cloudpulse.errors import StoreError


def claim(folder: Path, owner: str) -> int:
    """Make `folder` this process' own until it ends; two of the same service must not write the same files.

    Returns the descriptor that holds the claim (flock(2)); closing it gives the folder back. `owner` names the
    service in the message. Raises StoreError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(f"{folder}: can't use this data_dir: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(f"{folder}: in use by another {owner}: stop it, or give this one its own") from error
    return descriptor


def sync(folder: Path) -> None:
    """Make the names in `folder` durable: a renamed or new file is only safe once its folder is. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
