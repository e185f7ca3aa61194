"""Who is let in."""

from __future__ import annotations

import threading

import pytest

from forecaster.room import Full, Room


def test_places_and_waiters_are_counted_and_come_free() -> None:
    room = Room(places=1, waiting=0)
    for _ in range(3):
        with room.place(10), pytest.raises(Full, match="too many at once"), room.place(0.01):
            pytest.fail("two in a room for one")


def test_who_waits_in_vain_is_told_and_leaves() -> None:
    room = Room(places=1, waiting=1)
    with room.place(10):
        for _ in range(3):
            with pytest.raises(Full, match="no place within"), room.place(0.01):
                pytest.fail("two in a room for one")


def test_who_waits_gets_the_place_that_comes_free() -> None:
    room, inside, leave = Room(places=1, waiting=1), threading.Event(), threading.Event()

    def stay() -> None:
        with room.place(10):
            inside.set()
            leave.wait(30)

    other = threading.Thread(target=stay)
    other.start()
    assert inside.wait(30)
    threading.Timer(0.05, leave.set).start()
    with room.place(30):
        assert leave.is_set()
    other.join()


def test_a_place_comes_free_after_an_error() -> None:
    room = Room(places=1, waiting=0)
    with pytest.raises(ValueError, match="x"), room.place(1):
        raise ValueError("x")
    with room.place(1):
        pass
