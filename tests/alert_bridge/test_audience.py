import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from alert_bridge import webhook
from alert_bridge.history import History
from alert_bridge.intervals import Calendar, NamedIntervals, TimeInterval, TimeRange
from alert_bridge.notifier import Ack
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.outbox import Outbox
from alert_bridge.queueing import Terms
from alert_bridge.router import Route, Router
from alert_bridge.testing import webhook_body
from cloudpulse.testing import FakeClock
from tests.alert_bridge.tables import empty

NIGHT = NamedIntervals(
    name="night", time_intervals=(TimeInterval(times=(TimeRange(start_time="00:00", end_time="06:00"),)),)
)
ROUTES = (
    Route(match={"pod": "always"}, receivers=("oncall",)),
    Route(receivers=("oncall",), mute_time_intervals=("night",)),
)
HOUR = 3600


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    return request.getfixturevalue(f"{request.param}_database")


class Bridge:
    """Router and outbox on one clock; `told` delivers all that is due for a receiver: `a+` fires, `a-` ended."""

    def __init__(self, database, clock, receivers, routes=ROUTES):
        self.clock = clock
        named = {receiver.name: receiver for receiver in receivers}
        self.outbox = Outbox(database, clock, Terms(repeat_after=600, give_up_after=HOUR, receivers=named))
        self.routed(routes)

    def routed(self, routes):
        self.router = Router(routes, ["oncall"], Calendar([NIGHT]))

    def post(self, *alerts, key="{}:{}"):
        told = [(one[:-1], "firing" if one[-1] == "+" else "resolved") for one in alerts]
        group = webhook.parse(webhook_body(*told, key=key))
        plan = self.router.plan(group, self.clock())
        return self.outbox.store(group, plan.now, plan.muted)

    def told(self, receiver="oncall"):
        found = []
        while (claimed := self.outbox.claim(receiver)) is not None:
            self.outbox.delivered(claimed, {})
            found.append(signs(claimed))
        return found

    def dies(self, receiver):
        claimed = self.outbox.claim(receiver)
        self.outbox.given_up(claimed, "refused")
        return signs(claimed)

    def release(self):
        told = self.outbox.release(self.router.muted)
        assert self.outbox.release(self.router.muted) == ()
        return told

    def hour(self, hour):
        self.clock.now = self.clock.now // 86400 * 86400 + hour * HOUR


def signs(notification):
    return " ".join(alert.fingerprint + ("+" if alert.firing else "-") for alert in notification.group.alerts)


@pytest.fixture
def bridge(database, clock):
    made = Bridge(database, clock, [LogReceiver(name="oncall"), LogReceiver(name="chat")])
    made.hour(1)
    return made


def test_what_fires_in_a_mute_route_is_told_when_the_mute_time_ends(bridge):
    bridge.post("a+", "b+")
    assert bridge.told() == []
    bridge.hour(5)
    assert bridge.release() == ()
    bridge.hour(6)
    assert bridge.release() == ("oncall",)
    assert bridge.told() == ["a+ b+"]


def test_a_clock_that_is_set_back_mutes_nothing_for_days(bridge):
    bridge.post("a+")
    bridge.clock.advance(-5 * 86400)
    bridge.hour(7)
    assert bridge.release() == ("oncall",)
    assert bridge.told() == ["a+"]


def test_what_has_ended_by_then_is_never_told_but_stays_in_the_history(bridge, database):
    bridge.post("a+", "b+")
    bridge.post("a-", "b+")
    bridge.post("b-")
    bridge.hour(6)
    assert bridge.release() == ()
    assert bridge.told() == []
    entries = History(database).notifications({"state": "muted"}, None, 10).entries
    assert len(entries) == 2
    assert all(entry["finishedAt"] for entry in entries)


def test_what_fires_longer_is_told_once_as_it_was_last(bridge):
    bridge.post("a+", "b+")
    bridge.clock.advance(HOUR)
    bridge.post("a+", "b-", "c+")
    bridge.clock.advance(HOUR)
    bridge.post("a+", "c+")
    bridge.hour(6)
    bridge.release()
    assert bridge.told() == ["a+ c+"]


def test_what_was_told_meanwhile_is_not_told_again(bridge):
    bridge.post("a+")
    bridge.hour(6)
    bridge.post("a+", "b+")
    assert bridge.told() == ["a+ b+"]
    assert bridge.release() == ()


def test_who_was_told_that_it_fires_hears_at_once_that_it_ended_though_the_route_is_mute(bridge):
    bridge.hour(23)
    bridge.post("a+")
    assert bridge.told() == ["a+"]
    bridge.clock.advance(2 * HOUR)
    bridge.post("a-", "b+")
    assert bridge.told() == ["a-"]
    bridge.post("b-")
    assert bridge.told() == []


def test_an_end_does_not_end_the_incident_for_who_was_told_of_another_that_is_mute_by_now(bridge):
    """PagerDuty would close it, and be silent though b still fires."""
    bridge.hour(23)
    bridge.post("a+", "b+")
    assert bridge.told() == ["a+ b+"]
    bridge.clock.advance(2 * HOUR)
    bridge.post("a-", "b+")
    assert bridge.told() == ["a- b+"]
    bridge.hour(6)
    assert bridge.release() == ()
    bridge.post("b-")
    assert bridge.told() == ["b-"]


def test_who_was_not_told_for_long_still_hears_the_end(bridge, monkeypatch):
    monkeypatch.setattr("alert_bridge.audience.LOOK_BACK", 5)
    bridge.hour(23)
    bridge.routed([Route(match={"pod": "a"}, receivers=("oncall",)), Route(receivers=("chat",))])
    bridge.post("a+", "b+")
    assert bridge.told() == ["a+"]
    bridge.routed([Route(receivers=("chat",))])
    for n in range(8):
        bridge.post("a+", "b+", f"c{n}+")
        bridge.told("chat")
    bridge.post("a-", "b-")
    assert bridge.told() == ["a-"]


def test_the_muted_holds_up_nothing_of_its_incident(bridge):
    bridge.post("a+", "always+")
    bridge.post("a+", "always-")
    assert bridge.told() == ["always+", "always-"]
    bridge.hour(6)
    bridge.release()
    assert bridge.told() == ["a+"]


def test_an_ack_tells_nobody_who_was_not_told(bridge):
    bridge.post("a+")
    assert bridge.outbox.acknowledge("a", Ack(by="eve", until=bridge.clock() + 60), lambda _: None) == ()


def test_a_person_can_have_the_muted_told_now(bridge, database):
    bridge.post("a+")
    (entry,) = History(database).notifications({"state": "muted"}, None, 10).entries
    assert bridge.outbox.retry(entry["id"]) == "muted"
    assert bridge.told() == ["a+"]
    bridge.hour(6)
    assert bridge.release() == ()


def test_a_mute_time_that_the_config_no_longer_has_ends_at_the_next_look(bridge):
    bridge.post("a+")
    bridge.routed([Route(receivers=("chat",))])
    bridge.hour(6)
    assert bridge.release() == ("chat",)
    assert bridge.told("chat") == ["a+"]


def test_a_change_of_the_routes_keeps_no_end_from_who_was_told(bridge):
    bridge.hour(12)
    bridge.post("a+", "b+")
    assert bridge.told() == ["a+ b+"]
    bridge.routed([Route(receivers=("chat",))])
    stored = bridge.post("a-", "b+")
    assert set(stored.receivers) == {"oncall", "chat"}
    assert bridge.told() == ["a- b+"], "it was told of b, too, and mustn't take the incident for over"
    assert bridge.told("chat") == ["a- b+"]


@pytest.fixture
def falling_back(database, clock):
    receivers = [LogReceiver(name="oncall", fallback="chat"), LogReceiver(name="chat", give_up_after=60)]
    made = Bridge(database, clock, receivers, [Route(receivers=("oncall",))])
    made.hour(12)
    return made


def test_what_a_receiver_can_not_be_told_goes_to_its_fallback_marked(falling_back):
    falling_back.post("a+")
    assert falling_back.dies("oncall") == "a+"
    handed = falling_back.outbox.claim("chat")
    assert (signs(handed), handed.instead_of, handed.give_up_at) == ("a+", "oncall", falling_back.clock() + 60)


def test_who_was_told_instead_hears_the_end_though_the_receiver_is_back(falling_back):
    falling_back.post("a+")
    falling_back.dies("oncall")
    falling_back.post("a-")
    assert falling_back.told() == ["a-"]
    assert falling_back.told("chat") == ["a+", "a-"]


def test_an_end_that_already_waits_when_the_fallback_is_told_goes_there_too(falling_back):
    falling_back.post("a+", "b+")
    falling_back.post("a-", "b+")
    falling_back.dies("oncall")
    assert falling_back.told() == ["a- b+"]
    assert falling_back.told("chat") == ["a+ b+", "a- b+"]


def test_a_later_end_that_the_fallback_hears_is_marked_too(falling_back):
    falling_back.post("a+")
    falling_back.dies("oncall")
    falling_back.told("chat")
    falling_back.post("a-")
    handed = falling_back.outbox.claim("chat")
    assert (signs(handed), handed.instead_of) == ("a-", "oncall")


def test_what_the_fallback_was_told_by_itself_keeps_its_incident_open(falling_back):
    falling_back.routed([Route(match={"pod": "c"}, receivers=("chat",)), Route(receivers=("oncall",))])
    falling_back.post("a+", "c+")
    assert falling_back.told("chat") == ["c+"]
    falling_back.post("a-", "c+")
    falling_back.told("chat")
    falling_back.dies("oncall")
    assert falling_back.told("chat") == ["a+", "a- c+"]


def test_a_fallback_that_was_told_anyway_is_not_told_twice(falling_back):
    falling_back.routed([Route(receivers=("oncall", "chat"))])
    falling_back.post("a+")
    falling_back.dies("oncall")
    assert falling_back.told("chat") == ["a+"]


def test_a_receivers_own_time_decides_when_it_is_given_up(falling_back):
    falling_back.routed([Route(receivers=("oncall", "chat"))])
    falling_back.post("a+")
    assert falling_back.outbox.claim("oncall").give_up_at == falling_back.clock() + HOUR
    assert falling_back.outbox.claim("chat").give_up_at == falling_back.clock() + 60


POSTS = st.lists(
    st.tuples(
        st.sets(st.sampled_from("abc"), max_size=3), st.integers(1, 11), st.sampled_from(["", "", "dies", "moves"])
    ),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(POSTS)
def test_in_the_end_nobody_believes_that_something_fires_which_ended_nor_misses_what_fires(sqlite_database, posts):
    """Alerts come and go, over days with mute nights, changing routes and a receiver that dies now and then."""
    clock, moved = FakeClock(), False
    empty(sqlite_database)
    receivers = [LogReceiver(name="oncall", fallback="chat"), LogReceiver(name="chat")]
    bridge = Bridge(sqlite_database, clock, receivers)
    believed = {"oncall": {}, "chat": {}}

    def deliver():
        for name, known in believed.items():
            for told in bridge.told(name):
                known.update((sign[:-1], sign[-1] == "+") for sign in told.split())
                if "+" not in told:  # the incident is over, by that
                    assert not any(known.values())

    before = set()
    for firing, hours, then in posts:
        if firing | before:
            bridge.post(*sorted([*(f"{one}+" for one in firing), *(f"{one}-" for one in before - firing)]))
        before = firing
        if then == "dies":
            claimed = bridge.outbox.claim("oncall")
            if claimed is not None:
                bridge.outbox.given_up(claimed, "refused")
                for sign in signs(claimed).split():  # what it refuses to hear it can't know
                    believed["oncall"].pop(sign[:-1], None)
        elif then == "moves":
            moved = not moved
            bridge.routed([Route(receivers=("chat" if moved else "oncall",))])
        deliver()
        clock.advance(hours * HOUR)
        bridge.release()
        deliver()
    clock.advance(86400 - clock() % 86400 + 7 * HOUR)
    bridge.release()
    deliver()
    for known in believed.values():
        assert [one for one, fires in known.items() if fires and one not in before] == []
    assert all(any(known.get(one) for known in believed.values()) for one in before)
