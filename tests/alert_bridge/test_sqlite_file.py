import contextlib
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alert_bridge import webhook
from alert_bridge.database import Database
from alert_bridge.outbox import Outbox
from alert_bridge.queueing import Terms
from alert_bridge.sqlite_file import FILE, SqliteFile
from alert_bridge.testing import webhook_body
from cloudpulse.errors import StoreError


def group(*alerts, **changes):
    return webhook.parse(webhook_body(*alerts, **changes))


FIRST = group(("a", "firing"))


def stored_rows(path):
    """Of each group: its id, how many alerts and how many notifications it has."""
    count = "(SELECT count(*) FROM {} WHERE group_id = groups.id)".format
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            f"SELECT id, {count('alerts')}, {count('notifications')} FROM groups ORDER BY id"
        ).fetchall()


def test_a_full_disk_refuses_and_keeps_no_half(tmp_path, clock):
    """`max_page_count` makes SQLite answer as it does when the disk is full."""
    big = {"filler": "x" * 2000}
    full = Database(SqliteFile(tmp_path, ("max_page_count=60",)))
    outbox = Outbox(full, clock, Terms(repeat_after=600, give_up_after=3600))
    accepted = 0

    def store():
        told = group((f"a{accepted}", "firing"), (f"b{accepted}", "firing"), key=str(accepted), labels=big)
        return outbox.store(told, {"one": [0, 1], "two": [0]})

    def fill():
        nonlocal accepted
        while True:
            store()
            accepted += 1

    with pytest.raises(StoreError, match="can't write the outbox: database or disk is full"):
        fill()
    full.close()
    assert accepted > 5
    assert [row[1:] for row in stored_rows(tmp_path / FILE)] == [(2, 2)] * accepted
    larger = Database(SqliteFile(tmp_path))
    outbox = Outbox(larger, clock, Terms(repeat_after=600, give_up_after=3600))
    assert not store().duplicate
    assert len([True for _ in iter(lambda: outbox.claim("one"), None)]) == accepted + 1
    larger.close()


def test_one_that_fails_does_not_take_the_others_with_it(database, outbox):
    """Writes that wait at the same time share a transaction; a broken one must fail alone."""
    gate = threading.Event()

    def hold(connection):
        gate.wait(5)

    def broken(connection):
        connection.exec_driver_sql("INSERT INTO no_such_table VALUES (1)")

    with ThreadPoolExecutor(8) as pool:
        holding = pool.submit(database.write, hold)
        good = [pool.submit(outbox.store, group((f"f{i}", "firing")), {"one": [0]}) for i in range(5)]
        bad = pool.submit(database.write, broken)
        gate.set()
        assert holding.result(5) is None
        assert len({future.result(5).group_id for future in good}) == 5
        with pytest.raises(StoreError, match="no such table"):
            bad.result(5)
    assert stored_rows(database.name) == [(n, 1, 1) for n in range(1, 6)]


def test_a_locked_file_is_an_error_not_a_wait_without_end(tmp_path, clock):
    database = Database(SqliteFile(tmp_path, ("busy_timeout=50",)))
    outbox = Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600))
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="database is locked"):
        outbox.store(FIRST, {"one": [0]})
    other.execute("ROLLBACK")
    assert not outbox.store(FIRST, {"one": [0]}).duplicate
    other.close()
    database.close()


def test_a_removed_file_is_noticed(database, outbox):
    """SQLite itself goes on writing into a file that nobody will ever find."""
    outbox.probe()
    shutil.rmtree(Path(database.name).parent)
    for attempt in (outbox.probe, lambda: outbox.store(FIRST, {"one": [0]})):
        with pytest.raises(StoreError, match="removed or replaced"):
            attempt()


def test_a_data_dir_serves_one_bridge_at_a_time(tmp_path):
    first = Database(SqliteFile(tmp_path))
    with pytest.raises(StoreError, match="in use by another alert bridge"):
        Database(SqliteFile(tmp_path))
    first.close()
    Database(SqliteFile(tmp_path)).close()


def test_a_file_of_a_newer_version_or_of_something_else_is_left_alone(tmp_path):
    Database(SqliteFile(tmp_path)).close()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="written by a newer CloudPulse"):
        Database(SqliteFile(tmp_path))
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="not a database: restore it from a backup, or move it away"):
        Database(SqliteFile(tmp_path))
    assert (tmp_path / FILE).read_bytes().startswith(b"no database")


def test_a_data_dir_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/data: can't use this data_dir"):
        Database(SqliteFile(tmp_path / "file" / "data"))


def test_commits_are_durable_by_the_database_own_word(database):
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_a_process_that_ends_waits_no_longer_for_a_disk_that_hangs(sqlite_database, monkeypatch):
    monkeypatch.setattr("alert_bridge.database.LAST_SECONDS", 0.05)
    entered, release = threading.Event(), threading.Event()

    def hangs(connection):
        entered.set()
        release.wait(30)
        return "written"

    with ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(sqlite_database.write, hangs, None)
        assert entered.wait(5)
        queued = pool.submit(sqlite_database.write, lambda connection: "written", None)
        sqlite_database.hurry()
        try:
            for late in (under_way, queued):
                with pytest.raises(StoreError, match=r"took longer than 0.05 s: is the disk stuck"):
                    late.result(20)
            with pytest.raises(StoreError, match="took longer"):
                sqlite_database.write(lambda connection: "written", None)
        finally:
            release.set()
    monkeypatch.setattr(sqlite_database, "_longest", 10)
    assert sqlite_database.write(lambda connection: "written") == "written"
