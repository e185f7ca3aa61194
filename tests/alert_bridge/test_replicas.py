"""Two outboxes on one PostgreSQL database stand for two processes; beats are called by hand."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from alert_bridge import webhook
from alert_bridge.database import Database
from alert_bridge.outbox import Outbox
from alert_bridge.postgresql import Postgres
from alert_bridge.queueing import Terms
from alert_bridge.replicas import SILENT_BEATS, Replicas
from alert_bridge.schema import groups, metadata
from alert_bridge.testing import webhook_body

BEATS = SILENT_BEATS + 1


def group(*alerts, **changes):
    return webhook.parse(webhook_body(*alerts, **changes))


FIRST, SECOND = (group((name, "firing")) for name in "ab")
ELSEWHERE = group(("x", "firing"), key="elsewhere")


class Process:
    """What one bridge process has of the database."""

    def __init__(self, database, clock, receivers=("one",)):
        self.outbox = Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600))
        self.replicas = Replicas(database, self.outbox, receivers, receivers[0])
        self.replicas.beat()


@pytest.fixture
def pair(postgresql_database, clock):
    return Process(postgresql_database, clock), Process(postgresql_database, clock)


def beats(process, count=BEATS):
    return [process.replicas.beat() for _ in range(count)]


def test_on_sqlite_the_next_process_goes_on_at_once(sqlite_database, clock):
    """The lock on data_dir has proved that the one before is gone."""
    before = Process(sqlite_database, clock, ["one", "gone"])
    before.outbox.store(FIRST, {"one": [0], "gone": [0]})
    lost = before.outbox.claim("one")
    after = Process(sqlite_database, clock, ["two", "one"])
    assert after.outbox.claim("one").idempotency_key == lost.idempotency_key
    assert after.outbox.claim("two").group == FIRST
    assert after.outbox.claim("gone") is None


def test_what_one_sends_the_other_leaves_alone_while_it_lives(pair):
    one, other = pair
    one.outbox.store(FIRST, {"one": [0]})
    claimed = one.outbox.claim("one")
    for _ in range(3 * BEATS):
        one.replicas.beat()
        assert other.replicas.beat().ended == 0
    assert other.outbox.claim("one") is None
    one.outbox.delivered(claimed, {})
    one.outbox.store(SECOND, {"one": [0]})
    assert other.outbox.claim("one").group == SECOND


def test_what_a_silent_one_was_sending_is_sent_by_the_others(pair):
    one, other = pair
    one.outbox.store(FIRST, {"one": [0]})
    lost = one.outbox.claim("one")
    seen = [change.ended for change in beats(other, SILENT_BEATS)]  # its first beat was at its start
    assert seen == [0] * (SILENT_BEATS - 1) + [1]
    again = other.outbox.claim("one")
    assert (again.idempotency_key, again.attempt) == (lost.idempotency_key, 2)


def test_a_late_result_counts_unless_another_has_taken_over(pair):
    one, other = pair
    for told in (FIRST, ELSEWHERE):
        one.outbox.store(told, {"one": [0]})
    slow, taken = one.outbox.claim("one"), one.outbox.claim("one")
    beats(other)
    one.outbox.delivered(slow, {})
    again = other.outbox.claim("one")
    assert again.idempotency_key == taken.idempotency_key
    one.outbox.delivered(taken, {})
    one.outbox.store(group(("y", "firing"), key="elsewhere"), {"one": [0]})
    assert other.outbox.claim("one") is None, "it would overtake the one under way"
    other.outbox.delivered(again, {})
    assert other.outbox.claim("one") is not None


def test_a_claim_is_not_judged_by_the_clock_of_another_machine(postgresql_database, clock):
    one = Process(postgresql_database, clock)
    ahead = Process(postgresql_database, lambda: clock() + 100_000)
    one.outbox.store(FIRST, {"one": [0]})
    one.outbox.claim("one")
    assert ahead.outbox.claim("one") is None


def test_one_that_was_given_up_by_mistake_lives_on(pair):
    one, other = pair
    beats(other)
    one.replicas.beat()
    one.outbox.store(FIRST, {"one": [0]})
    one.outbox.claim("one")
    assert other.replicas.beat().ended == 0
    assert other.outbox.claim("one") is None


def test_one_that_ends_in_order_is_missed_at_once(pair):
    one, other = pair
    assert other.replicas.beat().ended == 0
    one.outbox.store(FIRST, {"one": [0]})
    claimed = one.outbox.claim("one")
    one.replicas.leave()
    assert other.replicas.beat().ended == 0, "it is still sending"
    one.outbox.delivered(claimed, {})
    one.replicas.leave()
    assert other.replicas.beat().ended == 1


def test_only_what_no_living_config_knows_goes_to_the_heir(postgresql_database, clock):
    """During a change of the config, old and new replicas live side by side."""
    old, new = (Process(postgresql_database, clock, [name]) for name in ("old", "new"))
    old.outbox.store(FIRST, {"old": [0]})
    assert sum(change.inherited for change in beats(new, SILENT_BEATS - 1)) == 0
    assert new.replicas.beat().inherited == 1
    assert new.outbox.claim("new").group == FIRST


def test_a_pair_of_alertmanagers_posting_to_a_pair_of_bridges_is_stored_once(pair, postgresql, clock):
    barrier = threading.Barrier(8)

    def post(number):
        barrier.wait()
        return pair[number % 2].outbox.store(FIRST, {"one": [0]}).duplicate

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(post, range(8))) == [False] + [True] * 7


ACTIONS = st.tuples(
    st.sampled_from(["store", "store", "deliver", "postpone", "hold", "crash", "give up"]),
    st.integers(0, 1),  # the process
    st.integers(0, 2),  # an incident, or seconds
)


@pytest.fixture(scope="module")
def two_databases(postgresql):
    """Of two processes: connections of their own to the same tables."""
    url = postgresql.new_database()
    opened = [Database(Postgres(url)) for _ in range(2)]
    yield opened
    for database in opened:
        database.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, max_size=25))
def test_whichever_replica_does_what_nothing_is_lost_and_order_is_kept(two_databases, steps):
    now = [1000.0]

    def empty(connection):
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))

    two_databases[0].write(empty)
    processes = [Process(database, lambda: now[0]) for database in two_databases]
    stored, finished, held = [], [], []

    def finish(process, notification):
        process.outbox.delivered(notification, {})
        finished.append(notification.group.alerts[0].fingerprint)

    for action, number, rest in steps:
        process = processes[number]
        if action == "store":
            name = f"{rest}-{len(stored):03}"
            process.outbox.store(group((name, "firing"), key=str(rest)), {"one": [0]})
            stored.append(name)
        elif action == "crash":
            processes[number] = Process(two_databases[number], lambda: now[0])
            for _ in range(BEATS):
                for each in processes:
                    each.replicas.beat()
        elif (claimed := process.outbox.claim("one")) is not None:
            if action == "deliver":
                finish(process, claimed)
            elif action == "postpone":
                process.outbox.postponed(claimed, now[0] + rest, "no answer")
            elif action == "give up":
                process.outbox.given_up(claimed, "refused")
                finished.append(claimed.group.alerts[0].fingerprint)
            else:
                held.append((number, claimed))
        now[0] += 0.5
    beats(processes[0])  # the other is silent now
    now[0] += 10_000
    for number, lost in held:
        processes[number].outbox.lost(lost)
    while (claimed := processes[0].outbox.claim("one")) is not None:
        finish(processes[0], claimed)
    assert sorted(finished) == sorted(stored)
    for incident in "012":
        mine = [name for name in finished if name.startswith(incident)]
        assert mine == sorted(mine)
    with two_databases[0].read() as connection:
        ids = connection.execute(groups.select().order_by(groups.c.id)).all()
    assert len(ids) == len(stored)
