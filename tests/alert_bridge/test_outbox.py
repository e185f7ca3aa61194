import contextlib
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alert_bridge import webhook
from alert_bridge.database import FILE, Database
from alert_bridge.history import History
from alert_bridge.outbox import LEASE_SECONDS, Outbox
from alert_bridge.schema import DEAD, DELIVERED, PENDING
from alert_bridge.testing import webhook_body
from cloudpulse.errors import StoreError


def group(*alerts, **changes):
    return webhook.parse(webhook_body(*alerts, **changes))


FIRST, SECOND, THIRD = (group((name, "firing")) for name in "abc")
ELSEWHERE = group(("x", "firing"), key="elsewhere")


def stored_rows(path):
    """Of each group: its id, how many alerts and how many notifications it has."""
    count = "(SELECT count(*) FROM {} WHERE group_id = groups.id)".format
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT id, {count('alerts')}, {count('notifications')} FROM groups").fetchall()


def test_a_stored_group_comes_back_as_it_was(outbox):
    whole = group(("a", "firing"), ("b", "resolved"), truncatedAlerts=2, notification_reason="first notification")
    outbox.store(whole, {"one": [0, 1], "two": [1]})
    assert outbox.claim("one").group == whole
    assert outbox.claim("two").group == whole.only([1])
    assert outbox.claim("three") is None


def test_the_same_again_is_stored_once_until_it_is_a_repeat(outbox, clock):
    first = outbox.store(FIRST, {"one": [0]})
    clock.advance(599)
    assert outbox.store(FIRST, {"one": [0]}) == type(first)(first.group_id, duplicate=True)
    clock.advance(1)
    repeat = outbox.store(FIRST, {"one": [0]})
    assert not repeat.duplicate
    keys = set()
    while (notification := outbox.claim("one")) is not None:
        keys.add(notification.idempotency_key)
        outbox.delivered(notification, {})
    assert len(keys) == 2


def test_a_clock_that_was_set_back_swallows_no_repeat(outbox, clock):
    outbox.store(FIRST, {"one": [0]})
    clock.advance(-86400)
    assert not outbox.store(FIRST, {"one": [0]}).duplicate


def test_an_ha_pair_posting_at_the_same_moment_is_stored_once(outbox):
    barrier = threading.Barrier(8)

    def post(_):
        barrier.wait()
        return outbox.store(FIRST, {"one": [0]}).duplicate

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(post, range(8))) == [False] + [True] * 7


def test_a_later_notification_waits_for_the_one_before_it(outbox, clock):
    for told in (FIRST, ELSEWHERE, SECOND):
        outbox.store(told, {"one": [0]})
    head = outbox.claim("one")
    other = outbox.claim("one")
    assert (head.group, other.group) == (FIRST, ELSEWHERE)
    assert outbox.claim("one") is None
    outbox.postponed(head, clock() + 5, "no answer")
    clock.advance(4)
    outbox.store(THIRD, {"one": [0]})
    assert outbox.claim("one") is None
    clock.advance(1)
    again = outbox.claim("one")
    assert (again.idempotency_key, again.attempt) == (head.idempotency_key, 2)
    outbox.delivered(again, {})
    after = outbox.claim("one")
    assert after.group == SECOND
    outbox.given_up(after, "refused")
    assert outbox.claim("one").group == THIRD


def test_receivers_do_not_wait_for_each_other(outbox):
    outbox.store(FIRST, {"one": [0], "two": [0]})
    outbox.store(SECOND, {"one": [0], "two": [0]})
    assert outbox.claim("one").group == FIRST
    two = outbox.claim("two")
    outbox.delivered(two, {})
    assert outbox.claim("two").group == SECOND


def test_a_claim_without_a_result_is_given_out_again_with_the_same_key(outbox, clock):
    outbox.store(FIRST, {"one": [0]})
    lost = outbox.claim("one")
    clock.advance(LEASE_SECONDS - 1)
    assert outbox.claim("one") is None
    clock.advance(1)
    assert outbox.claim("one").idempotency_key == lost.idempotency_key


def test_a_new_process_goes_on_where_the_old_one_ended(outbox):
    outbox.store(FIRST, {"one": [0], "gone": [0]})
    lost = outbox.claim("one")
    assert outbox.resume(["one", "two"], heir="two") == 1
    assert outbox.claim("one").idempotency_key == lost.idempotency_key
    assert outbox.claim("two").group == FIRST
    assert outbox.claim("gone") is None


def test_a_dead_letter_is_sent_again_when_a_person_says_so(outbox, clock):
    outbox.store(FIRST, {"one": [0]})
    first = outbox.claim("one")
    outbox.given_up(first, "refused")
    assert outbox.claim("one") is None
    clock.advance(10_000)
    assert outbox.retry(first.id) == DEAD
    again = outbox.claim("one")
    assert (again.idempotency_key, again.attempt) == (first.idempotency_key, 1)
    assert again.give_up_at == clock() + 3600
    outbox.delivered(again, {})
    assert outbox.retry(first.id) == DELIVERED
    assert outbox.claim("one") is None
    assert outbox.retry(first.id + 1) is None


def test_a_waiting_notification_can_be_hurried(outbox, clock):
    outbox.store(FIRST, {"one": [0]})
    waiting = outbox.claim("one")
    outbox.postponed(waiting, clock() + 3000, "no answer")
    assert outbox.next_due("one", after=clock()) == clock() + 3000
    assert outbox.retry(waiting.id) == PENDING
    assert outbox.claim("one").id == waiting.id


def test_the_backlog_counts_what_waits_and_what_was_given_up(outbox, clock):
    begun = clock()
    outbox.store(FIRST, {"one": [0], "two": [0]})
    clock.advance(7)
    outbox.store(SECOND, {"one": [0]})
    outbox.given_up(outbox.claim("two"), "refused")
    found = {(entry.receiver, entry.state): (entry.count, entry.oldest_at) for entry in outbox.backlog()}
    assert found == {("one", PENDING): (2, begun), ("two", DEAD): (1, begun)}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(0, 2)),
        st.tuples(st.sampled_from(["deliver", "postpone", "give up", "crash", "restart"]), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 5)),
    ),
    max_size=30,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_happens_nothing_is_lost_and_order_is_kept(tmp_path_factory, steps):
    """Deliveries, failures, crashes and waits in any order; then all that is left is delivered."""
    now = [1000.0]
    database = Database(tmp_path_factory.mktemp("outbox"), ("synchronous=OFF",))
    try:
        outbox = Outbox(database, lambda: now[0], repeat_after=600, give_up_after=3600)
        stored, finished, held = [], [], []

        def finish(notification):
            outbox.delivered(notification, {})
            finished.append(notification.group.alerts[0].fingerprint)

        for action, number in steps:
            if action == "store":
                name = f"{number}-{len(stored):03}"
                outbox.store(group((name, "firing"), key=str(number)), {"one": [0]})
                stored.append(name)
            elif action == "wait":
                now[0] += number
            elif action == "restart":
                outbox.resume(["one"], "one")
                held.clear()
            elif (claimed := outbox.claim("one")) is not None:
                if action == "deliver":
                    finish(claimed)
                elif action == "postpone":
                    outbox.postponed(claimed, now[0] + number, "no answer")
                elif action == "give up":
                    outbox.given_up(claimed, "refused")
                    finished.append(claimed.group.alerts[0].fingerprint)
                else:
                    held.append(claimed)
        now[0] += LEASE_SECONDS
        while (claimed := outbox.claim("one")) is not None:
            finish(claimed)
        assert sorted(finished) == sorted(stored)
        for incident in "012":
            mine = [name for name in finished if name.startswith(incident)]
            assert mine == sorted(mine)
    finally:
        database.close()


def test_a_full_disk_refuses_and_keeps_no_half(tmp_path, clock):
    """`max_page_count` makes SQLite answer as it does when the disk is full."""
    big = {"filler": "x" * 2000}
    full = Database(tmp_path, ("max_page_count=60",))
    outbox = Outbox(full, clock, repeat_after=600, give_up_after=3600)
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
    larger = Database(tmp_path)
    outbox = Outbox(larger, clock, repeat_after=600, give_up_after=3600)
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
    assert stored_rows(database.path) == [(n, 1, 1) for n in range(1, 6)]


def test_a_locked_file_is_an_error_not_a_wait_without_end(tmp_path, clock):
    database = Database(tmp_path, ("busy_timeout=50",))
    outbox = Outbox(database, clock, repeat_after=600, give_up_after=3600)
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
    shutil.rmtree(database.path.parent)
    for attempt in (outbox.probe, lambda: outbox.store(FIRST, {"one": [0]})):
        with pytest.raises(StoreError, match="removed or replaced"):
            attempt()


def test_a_data_dir_serves_one_bridge_at_a_time(tmp_path):
    first = Database(tmp_path)
    with pytest.raises(StoreError, match="in use by another alert bridge"):
        Database(tmp_path)
    first.close()
    Database(tmp_path).close()


def test_a_file_of_a_newer_version_or_of_something_else_is_left_alone(tmp_path):
    Database(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="written by a newer CloudPulse"):
        Database(tmp_path)
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Database(tmp_path)
    assert (tmp_path / FILE).read_bytes().startswith(b"no database")


def test_a_data_dir_that_can_not_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/data: can't use this data_dir"):
        Database(tmp_path / "file" / "data")


def test_commits_are_durable_by_the_database_own_word(database):
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_pages_are_stable_while_new_entries_come(database, outbox, clock):
    history = History(database)
    for n in range(5):
        outbox.store(group((f"f{n}", "firing"), key=str(n)), {"one": [0]})
    first = history.alerts({}, None, 2)
    outbox.store(FIRST, {"one": [0]})
    second = history.alerts({}, first.before, 2)
    third = history.alerts({}, second.before, 2)
    names = [entry["fingerprint"] for page in (first, second, third) for entry in page.entries]
    assert names == ["f4", "f3", "f2", "f1", "f0"]
    assert third.before is None


def test_history_is_filtered(database, outbox):
    history = History(database)
    outbox.store(FIRST, {"one": [0], "two": [0]})
    outbox.store(group(("b", "resolved"), key="elsewhere"), {"one": [0]})
    outbox.given_up(outbox.claim("two"), "refused")
    assert [entry["fingerprint"] for entry in history.alerts({"status": "resolved"}, None, 9).entries] == ["b"]
    assert [entry["fingerprint"] for entry in history.alerts({"incident": FIRST.incident}, None, 9).entries] == ["a"]
    (dead,) = history.notifications({"state": "dead"}, None, 9).entries
    assert (dead["receiver"], dead["lastError"], dead["dueAt"]) == ("two", "refused", None)
    assert len(history.notifications({"receiver": "one"}, None, 9).entries) == 2
