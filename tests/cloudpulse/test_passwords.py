from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import bcrypt
import pytest

from cloudpulse import passwords
from cloudpulse.passwords import PLACES, PLACES_EACH, REMEMBERED, Passwords, Verdict

RIGHT, WRONG, BUSY = Verdict.RIGHT, Verdict.WRONG, Verdict.BUSY
ANYWHERE = "192.0.2.1"


def _hashed(password: bytes, cost: int = 4) -> str:
    return bcrypt.hashpw(password[:72], bcrypt.gensalt(cost)).decode()


@pytest.fixture(scope="module")
def hashes() -> dict[str, str]:
    return {"alice": _hashed(b"alice123"), "bob": _hashed(b"bob123", 6), "carol": _hashed(b"x" * 80)}


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bcrypt rounds of each call."""
    real, seen = bcrypt.hashpw, []

    def counting(password: bytes, salt: bytes) -> bytes:
        seen.append(2 ** int(salt[4:6]))
        return real(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", counting)
    return seen


@pytest.mark.parametrize(
    ("user", "password", "verdict"),
    [
        (b"alice", b"alice123", RIGHT),
        (b"alice", b"alice1234", WRONG),
        (b"alice", b"", WRONG),
        (b"alice", b"bob123", WRONG),
        (b"bob", b"bob123", RIGHT),
        (b"carol", b"x" * 80, RIGHT),  # bcrypt, htpasswd and Go read 72 bytes
        (b"carol", b"x" * 71, WRONG),
        (b"alice", b"alice\0", WRONG),
        (b"nobody", b"alice123", WRONG),
        (b"nobody", b"nobody", WRONG),
        (b"", b"", WRONG),
        (b"\xff", b"\xff", WRONG),
    ],
)
def test_a_password_is_right_only_for_its_user(
    hashes: dict[str, str], user: bytes, password: bytes, verdict: Verdict
) -> None:
    asked = Passwords(hashes)
    assert asked.judge(user, password, ANYWHERE) is verdict
    assert asked.judge(user, password, ANYWHERE) is verdict  # from memory


@pytest.mark.parametrize(
    ("user", "password"), [(b"alice", b"no"), (b"alice", b"alice123"), (b"bob", b"no"), (b"x", b"y")]
)
def test_every_user_known_or_not_costs_the_same(
    hashes: dict[str, str], costs: list[int], user: bytes, password: bytes
) -> None:
    Passwords(hashes).judge(user, password, ANYWHERE)
    assert sum(costs) == 2**6


def test_an_answer_right_or_wrong_is_computed_once(hashes: dict[str, str], costs: list[int]) -> None:
    asked = Passwords(hashes)
    for _ in range(3):
        assert asked.judge(b"alice", b"alice123", ANYWHERE) is RIGHT
        assert asked.judge(b"alice", b"no", ANYWHERE) is WRONG
    assert sum(costs) == 2 * 2**6


def test_a_user_and_a_password_are_never_taken_for_another_two(hashes: dict[str, str]) -> None:
    """exporter-toolkit's CVE-2022-46146: a key joined without care let one remembered question answer another."""
    asked = Passwords(hashes)
    assert asked.judge(b"alice", b"alice123", ANYWHERE) is RIGHT
    assert asked.judge(b"alicealice", b"123", ANYWHERE) is WRONG
    assert asked.judge(b"alice" + hashes["alice"].encode(), b"alice123", ANYWHERE) is WRONG
    assert asked.judge(b"alice", hashes["alice"].encode() + b"alice123", ANYWHERE) is WRONG


def test_wrong_passwords_do_not_push_right_ones_out_and_take_no_room_without_end(
    hashes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Passwords(hashes)
    assert asked.judge(b"alice", b"alice123", ANYWHERE) is RIGHT
    monkeypatch.setattr(passwords, "_hash", lambda password, salt: b"")
    for number in range(3 * REMEMBERED):
        assert asked.judge(b"alice", b"%d" % number, ANYWHERE) is WRONG
    assert len(asked._remembered[WRONG]._keys) == REMEMBERED + len(hashes)
    assert asked.judge(b"alice", b"alice123", ANYWHERE) is RIGHT


def test_no_password_is_kept_in_memory(hashes: dict[str, str]) -> None:
    asked = Passwords(hashes)
    asked.judge(b"alice", b"alice123", ANYWHERE)
    assert all(b"alice" not in key for memory in asked._remembered.values() for key in memory._keys)


class _Flood:
    """Wrong passwords whose bcrypt does not end."""

    def __init__(self, asked: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
        self._asked = asked
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self.answers: list[Verdict] = []
        monkeypatch.setattr(passwords, "_hash", lambda password, salt: b"" if self._ended.wait(30) else b"late")

    def ask(self, password: bytes, client: str) -> None:
        before = self._asked._places._taken.total()
        asking = threading.Thread(
            target=lambda: self.answers.append(self._asked.judge(b"alice", password, client)), daemon=True
        )
        asking.start()
        self._threads.append(asking)
        while asking.is_alive() and self._asked._places._taken.total() == before:
            asking.join(0.001)

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture
def flooded(
    hashes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], tuple[Passwords, _Flood]]]:
    floods = []

    def start() -> tuple[Passwords, _Flood]:
        asked = Passwords(hashes)
        assert asked.judge(b"alice", b"alice123", ANYWHERE) is RIGHT
        floods.append(_Flood(asked, monkeypatch))
        return asked, floods[-1]

    yield start
    for flood in floods:
        flood.end()


def test_who_is_remembered_is_answered_during_a_flood_and_who_is_not_is_asked_to_come_again(
    flooded: Callable[[], tuple[Passwords, _Flood]],
) -> None:
    asked, flood = flooded()
    for number in range(PLACES):
        flood.ask(b"no%d" % number, f"192.0.2.{number}")
    assert asked.judge(b"alice", b"alice123", ANYWHERE) is RIGHT
    assert asked.judge(b"alice", b"another", ANYWHERE) is BUSY
    flood.end()
    assert flood.answers == [WRONG] * PLACES
    assert asked.judge(b"alice", b"another", ANYWHERE) is WRONG
    assert not asked._places._taken


def test_one_client_leaves_places_for_the_others(flooded: Callable[[], tuple[Passwords, _Flood]]) -> None:
    asked, flood = flooded()
    for number in range(PLACES_EACH):
        flood.ask(b"no%d" % number, ANYWHERE)
    assert asked.judge(b"alice", b"no", ANYWHERE) is BUSY
    flood.ask(b"bob", "192.0.2.2")
    flood.end()
    assert flood.answers == [WRONG] * (PLACES_EACH + 1)
