import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from alert_bridge import webhook
from alert_bridge.database import Database
from alert_bridge.history import History
from alert_bridge.outbox import Outbox, Outdated
from alert_bridge.queueing import Terms
from alert_bridge.replicas import Replicas
from alert_bridge.router import Muted
from alert_bridge.schema import DEAD, DELIVERED, PENDING, events
from alert_bridge.sqlite_file import SqliteFile
from alert_bridge.testing import webhook_body
from cloudpulse.errors import StoreError


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """Both kinds keep what the outbox promises."""
    return request.getfixturevalue(f"{request.param}_database")


def group(*alerts, **changes):
    return webhook.parse(webhook_body(*alerts, **changes))


FIRST, SECOND, THIRD = (group((name, "firing")) for name in "abc")
ELSEWHERE = group(("x", "firing"), key="elsewhere")


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


def test_no_clock_ends_a_claim(outbox, clock):
    outbox.store(FIRST, {"one": [0]})
    claimed = outbox.claim("one")
    for seconds in (30 * 86400, -60 * 86400):
        clock.advance(seconds)
        assert outbox.claim("one") is None
    outbox.delivered(claimed, {})
    assert outbox.backlog() == []


def test_a_claim_that_nobody_settles_any_more_is_given_out_again_with_the_same_key(outbox):
    outbox.store(FIRST, {"one": [0]})
    lost = outbox.claim("one")
    outbox.lost(lost)
    again = outbox.claim("one")
    assert (again.idempotency_key, again.attempt) == (lost.idempotency_key, 2)
    outbox.lost(lost)
    assert outbox.claim("one") is None, "the second claim isn't the one that was lost"
    outbox.delivered(again, {})
    outbox.lost(again)
    assert outbox.claim("one") is None


def test_a_claim_whose_commit_failed_is_given_out_again(database, outbox):
    outbox.store(FIRST, {"one": [0]})
    broken, write = [True], database.write

    def lose_the_answer(operation, *how, **options):
        result = write(operation, *how, **options)
        if broken and broken.pop():
            raise StoreError("the connection broke after the commit")
        return result

    database.write = lose_the_answer
    with pytest.raises(StoreError):
        outbox.claim("one")
    assert outbox.held == frozenset()
    assert outbox.claim("one").attempt == 2


def test_what_is_claimed_anew_before_its_last_try_is_noted_here_stays_claimed(database, outbox, clock):
    """The thread that postponed it may be slower than the one that claims it next."""
    outbox.store(FIRST, {"one": [0]})
    first, second, write = outbox.claim("one"), [], database.write

    def claim_in_between(operation, *how, **options):
        result = write(operation, *how, **options)
        database.write = write
        second.append(outbox.claim("one"))
        return result

    database.write = claim_in_between
    outbox.postponed(first, clock(), "no answer")
    assert second[0].attempt == 2
    assert outbox.held == {first.id}


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


def test_a_clock_that_is_set_back_puts_nothing_off_for_days(outbox, clock):
    outbox.store(FIRST, {"one": [0]})
    outbox.postponed(outbox.claim("one"), clock() + 60, "no answer")
    assert outbox.hurry(3600) == ()
    clock.advance(-5 * 86400)
    assert outbox.claim("one") is None
    assert outbox.hurry(3600) == ("one",)
    assert outbox.claim("one").attempt == 2


def die(outbox):
    claimed = outbox.claim("one")
    outbox.given_up(claimed, "refused")
    return claimed.id


def test_a_dead_letter_whose_alert_ended_since_is_not_told_any_more(outbox):
    """It would open an incident at the receiver that nobody closes."""
    outbox.store(FIRST, {"one": [0]})
    dead = die(outbox)
    outbox.store(group(("a", "resolved")), {"one": [0]})
    assert outbox.retry(dead) == DEAD, "its end waits"
    assert die(outbox) == dead
    end = outbox.claim("one")
    with pytest.raises(Outdated, match=f"notification {dead} is no longer so: a changed since"):
        outbox.retry(dead)
    outbox.delivered(end, {})
    with pytest.raises(Outdated):
        outbox.retry(dead)
    assert outbox.claim("one") is None


def test_a_dead_end_of_what_fires_again_is_not_told_any_more(outbox):
    outbox.store(group(("a", "resolved")), {"one": [0]})
    dead = die(outbox)
    outbox.store(FIRST, {"one": [0]})
    outbox.delivered(outbox.claim("one"), {})
    with pytest.raises(Outdated):
        outbox.retry(dead)


def test_what_was_muted_and_has_ended_is_not_told_any_more(outbox, database, clock):
    outbox.store(FIRST, {}, {"one": Muted([0], clock() + 60)})
    outbox.store(group(("a", "resolved")), {})
    (entry,) = History(database).notifications({}, None, 9).entries
    with pytest.raises(Outdated):
        outbox.retry(entry["id"])


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
    database = Database(SqliteFile(tmp_path_factory.mktemp("outbox"), ("synchronous=OFF",)))
    try:
        outbox = Outbox(database, lambda: now[0], Terms(repeat_after=600, give_up_after=3600))
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
                outbox = Outbox(database, lambda: now[0], Terms(repeat_after=600, give_up_after=3600))
                Replicas(database, outbox, ["one"], "one").beat()
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
        now[0] += 10
        for lost in held:
            outbox.lost(lost)
        while (claimed := outbox.claim("one")) is not None:
            finish(claimed)
        assert sorted(finished) == sorted(stored)
        for incident in "012":
            mine = [name for name in finished if name.startswith(incident)]
            assert mine == sorted(mine)
    finally:
        database.close()


def stored(outbox, *told):
    return [outbox.store(each, {"one": [0]}).duplicate for each in told]


def test_what_comes_back_soon_with_the_start_it_had_is_news(outbox):
    """Prometheus away for a while: the alert is resolved by timeout, and then fires as before."""
    firing, resolved = group(("a", "firing")), group(("a", "resolved"))
    assert stored(outbox, firing, resolved, firing, resolved) == [False] * 4
    assert stored(outbox, resolved) == [True]


def test_one_alert_of_a_group_that_comes_back_is_news(outbox):
    both, one = group(("a", "firing"), ("b", "firing")), group(("a", "firing"), ("b", "resolved"))
    assert stored(outbox, both, one, both) == [False] * 3


def test_the_slower_half_of_a_pair_is_no_news_though_something_was_added_since(outbox):
    early, late = group(("a", "firing")), group(("a", "firing"), ("b", "firing"))
    assert stored(outbox, early, late, early, late) == [False, False, True, True]


def test_a_repeat_is_told_by_its_reason_however_soon(outbox):
    first, repeat = (group(notification_reason=why) for why in ("first notification", "repeat interval elapsed"))
    assert stored(outbox, first, repeat, repeat) == [False, False, True]


def test_an_alert_without_an_end_fires_whatever_its_status_says(database, outbox):
    body = webhook_body(("a", "resolved")).replace(b"2026-11-23T15:00:00Z", b"0001-01-01T00:00:00Z")
    outbox.store(webhook.parse(body), {"one": [0]})
    assert len(History(database).alerts({"status": "firing"}, None, 9).entries) == 1


def test_a_result_is_recorded_once(database, outbox):
    """A commit whose answer was lost is asked for again."""
    outbox.store(FIRST, {"one": [0]})
    notification = outbox.claim("one")
    outbox.delivered(notification, {"ts": "1"})
    outbox.delivered(notification, {"ts": "2"})
    outbox.given_up(notification, "refused")
    with database.read() as connection:
        kinds = connection.execute(select(events.c.kind).order_by(events.c.id)).scalars().all()
    assert kinds == ["alerts", "delivered"]
    assert outbox.held == frozenset()


def test_any_text_of_an_alert_is_kept(outbox):
    odd = group(("\0 🐘 '; DROP TABLE alerts; --", "firing"), labels={"nul": "\0", "quote": "\"'\\"}, key="\0")
    outbox.store(odd, {"one": [0]})
    assert outbox.claim("one").group == odd
