"""Basic auth: whether a user's password is the one whose bcrypt hash the web config holds.

bcrypt is slow on purpose, so that three things need care. Who asks often is answered from memory. What an answer costs
tells nothing about which users there are. And a flood of wrong passwords takes one CPU and a few threads, never all of
them: who is in memory is answered meanwhile. Source: exporter-toolkit, web/handler.go and web/cache.go, whose memory
right and wrong passwords share, and whose requests wait for bcrypt without an end.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import bcrypt

REMEMBERED = 100
"""Answers of each kind, right and wrong; more users than that make it more."""
PLACES = 4
"""Requests that may wait for bcrypt at the same time, of which one has it; less than there are threads."""
PLACES_EACH = 2
"""How many of them may come from one address, so that one client's flood leaves places for the others."""
LONGEST = 72
"""Bytes of a password that bcrypt reads; what is behind them never counted, in htpasswd and in Go neither."""


class Verdict(enum.Enum):
    """What is known about a user and a password."""

    RIGHT = enum.auto()
    WRONG = enum.auto()
    BUSY = enum.auto()
    """Too many wait for an answer: ask again later."""


class Passwords:
    """Any thread may ask. `hashes` by user are bcrypt's, checked."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {user.encode(): hashed.encode() for user, hashed in hashes.items()}
        self._dearest = max((_cost(hashed) for hashed in self._hashes.values()), default=4)
        self._secret = secrets.token_bytes(32)
        most = REMEMBERED + len(hashes)
        self._remembered = {verdict: _Memory(most) for verdict in (Verdict.RIGHT, Verdict.WRONG)}
        self._places = _Places()
        self._computing = threading.Lock()

    def judge(self, user: bytes, password: bytes, client: str) -> Verdict:
        """Whether `password` is that of `user`; `client` is the address that asks."""
        password = password[:LONGEST]
        key = self._key(user, password)
        if (known := self._recall(key)) is not None:
            return known
        with self._places.taken(client) as place:
            if not place:
                return Verdict.BUSY
            with self._computing:
                if (known := self._recall(key)) is not None:  # another request had the same question
                    return known
                verdict = Verdict.RIGHT if self._matches(user, password) else Verdict.WRONG
                self._remembered[verdict].add(key)
                return verdict

    def _recall(self, key: bytes) -> Verdict | None:
        return next((verdict for verdict, memory in self._remembered.items() if key in memory), None)

    def _key(self, user: bytes, password: bytes) -> bytes:
        """What is kept of a question: nobody can work backwards from it, nor make two questions that share one."""
        question = len(user).to_bytes(8, "big") + user + password
        return hashlib.blake2b(question, key=self._secret, digest_size=32).digest()

    def _matches(self, user: bytes, password: bytes) -> bool:
        """Costs 2^`_dearest` rounds for every user, known or not: costs c, c + 1 ... d - 1 make up for c below d."""
        hashed = self._hashes.get(user)
        if hashed is None:
            _hash(password, _salt(self._dearest))
            return False
        right = hmac.compare_digest(_hash(password, hashed), hashed)
        for cost in range(_cost(hashed), self._dearest):
            _hash(password, _salt(cost))
        return right


class _Memory:
    """The latest `most` keys. Any thread may ask and add."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: dict[bytes, None] = {}
        self._lock = threading.Lock()

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, key: bytes) -> None:
        with self._lock:
            if len(self._keys) >= self._most:
                del self._keys[next(iter(self._keys))]
            self._keys[key] = None


class _Places:
    """Where requests wait for bcrypt: a few, of each client fewer."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, client: str) -> Iterator[bool]:
        """Hold a place while the block runs; False where there is none."""
        with self._lock:
            free = self._taken.total() < PLACES and self._taken[client] < PLACES_EACH
            if free:
                self._taken[client] += 1
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._taken[client] -= 1
                    self._taken += Counter()  # forgets who holds none


def _hash(password: bytes, salt: bytes) -> bytes:
    """The bcrypt hash of `password`, as `salt`, which may be a whole hash, has it. Other threads run meanwhile."""
    try:
        return bcrypt.hashpw(password, salt)
    except ValueError:  # some releases refuse a NUL
        return b""


def _cost(hashed: bytes) -> int:
    return int(hashed[4:6])


def _salt(cost: int) -> bytes:
    return b"$2b$%02d$" % cost + b"." * 22
