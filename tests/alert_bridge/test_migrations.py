import contextlib
import sqlite3
from pathlib import Path

import pytest

from alert_bridge.database import Database
from alert_bridge.history import History
from alert_bridge.outbox import Outbox
from alert_bridge.queueing import Terms
from alert_bridge.replicas import Replicas
from alert_bridge.schema import VERSION
from alert_bridge.sqlite_file import FILE, SqliteFile
from cloudpulse.errors import StoreError

VERSION_1 = Path(__file__).parent / "fixtures" / "outbox-version-1.sql"
"""Made by the program of that time: a delivery that is done, one given up, one under way, and two that wait."""


def old_file(folder, also=""):
    folder.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        connection.executescript(VERSION_1.read_text(encoding="utf-8") + also)
    return folder


def shape(folder):
    """Columns and indices by table, in no order."""
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            table: (
                {row[1:4] + row[5:6] for row in connection.execute(f"PRAGMA table_info({table})")},
                {
                    (row[0], " ".join(row[1].split()))
                    for row in connection.execute(
                        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL AND tbl_name = ?",
                        (table,),
                    )
                },
            )
            for (table,) in found
        }


def test_an_old_file_becomes_what_a_new_one_is(tmp_path):
    Database(SqliteFile(old_file(tmp_path / "old"))).close()
    Database(SqliteFile(tmp_path / "new")).close()
    assert shape(tmp_path / "old") == shape(tmp_path / "new")


def test_nothing_of_an_old_file_is_lost(tmp_path, clock):
    database = Database(SqliteFile(old_file(tmp_path)))
    clock.advance(60)
    outbox = Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600))
    Replicas(database, outbox, ["one", "two"], "one").beat()
    waiting = [outbox.claim("one"), outbox.claim("one"), outbox.claim("two")]
    assert [(n.receiver, n.attempt, n.group.alerts[0].fingerprint) for n in waiting] == [
        ("one", 2, "a"),
        ("one", 1, "x"),
        ("two", 1, "b"),
    ]
    history = History(database)
    assert len(history.alerts({}, None, 9).entries) == 5
    assert len(history.alerts({"incident": waiting[0].group.incident}, None, 9).entries) == 4
    (dead,) = history.notifications({"state": "dead"}, None, 9).entries
    assert dead["lastError"] == "refused"
    database.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path):
    old_file(tmp_path, "CREATE TABLE events (something_else TEXT);")
    before = shape(tmp_path)
    with pytest.raises(StoreError, match="can't open the outbox: table events already exists"):
        Database(SqliteFile(tmp_path))
    assert shape(tmp_path) == before
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_tables_of_something_else_are_left_alone(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("CREATE TABLE groups (name TEXT)")
    with pytest.raises(StoreError, match=r"tables of something else \(groups\): give the alert bridge a database"):
        Database(SqliteFile(tmp_path))


def test_opening_twice_changes_nothing(tmp_path):
    for _ in range(2):
        Database(SqliteFile(old_file(tmp_path) if not (tmp_path / FILE).exists() else tmp_path)).close()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
