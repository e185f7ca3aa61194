import shutil
import subprocess

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_bridge import webhook
from alert_bridge.intervals import Calendar, NamedIntervals, TimeInterval, TimeRange
from alert_bridge.matchers import Matchers
from alert_bridge.router import Muted, Route, Router
from alert_bridge.testing import webhook_body

AMTOOL = shutil.which("amtool") or "amtool"
ROUTES = (
    Route(match={"team": "shop"}, receivers=("shop", "audit"), continue_=True),
    Route(match={"severity": "critical"}, receivers=("oncall", "audit")),
    Route(match={"severity": "critical", "team": "shop"}, receivers=("never",)),
    Route(match={"severity": ""}, receivers=("untold",)),
)
NIGHT = NamedIntervals(
    name="night", time_intervals=(TimeInterval(times=(TimeRange(start_time="00:00", end_time="06:00"),)),)
)
AT_NIGHT = 1_700_000_000 // 86400 * 86400 + 3 * 3600.0
IN_THE_MORNING = AT_NIGHT + 3 * 3600
BY_DAY = AT_NIGHT + 9 * 3600


def router(routes, *fallback):
    return Router(routes, fallback, Calendar([NIGHT]))


def matchers(*texts):
    return Matchers.read(list(texts))


def test_the_first_match_is_the_last_asked_unless_it_continues():
    routed = router(ROUTES, "fallback")
    assert routed.receivers({"severity": "critical"}) == ("oncall", "audit")
    assert routed.receivers({"severity": "critical", "team": "shop"}) == ("shop", "audit", "oncall")
    assert routed.receivers({"severity": "warning", "team": "shop"}) == ("shop", "audit")


def test_a_missing_label_counts_as_empty():
    assert router(ROUTES, "fallback").receivers({"alertname": "x"}) == ("untold",)


def test_what_no_route_takes_goes_to_every_fallback():
    assert router(ROUTES, "one", "two").receivers({"severity": "warning"}) == ("one", "two")
    assert router((), "one", "two").receivers({}) == ("one", "two")


def test_a_route_without_match_takes_all():
    assert router((Route(receivers=("all",)),), "fallback").receivers({"a": "b"}) == ("all",)


def test_match_and_matchers_must_both_hold():
    routed = router(
        (Route(receivers=("a",), match={"team": "shop"}, matchers=matchers("severity=~critical|page")),), "b"
    )
    assert routed.receivers({"team": "shop", "severity": "page"}) == ("a",)
    assert routed.receivers({"team": "shop", "severity": "info"}) == ("b",)
    assert routed.receivers({"severity": "page"}) == ("b",)


def test_each_alert_of_a_group_goes_its_own_way():
    body = webhook_body(("a", "firing"), ("b", "firing"), ("c", "firing"))
    body = body.replace(b'"pod": "b"', b'"severity": "critical"')
    plan = router(ROUTES[1:2], "chat").plan(webhook.parse(body), BY_DAY)
    assert plan.now == {"chat": [0, 2], "oncall": [1], "audit": [1]}
    assert plan.muted == {}


def test_a_mute_route_takes_its_alerts_and_keeps_those_that_fire():
    """As in Alertmanager the routes after it aren't asked."""
    muting = Route(receivers=("oncall",), mute_time_intervals=("night",))
    routed = router((muting, Route(receivers=("chat",))), "fallback")
    group = webhook.parse(webhook_body(("a", "firing"), ("b", "resolved"), ("c", "firing")))
    at_night = routed.plan(group, AT_NIGHT)
    assert at_night.now == {}
    assert at_night.muted == {"oncall": Muted([0, 2], IN_THE_MORNING)}
    assert routed.plan(group, BY_DAY).now == {"oncall": [0, 1, 2]}
    by_day_only = router((Route(receivers=("oncall",), active_time_intervals=("night",)),), "fallback")
    assert by_day_only.plan(group, AT_NIGHT).now == {"oncall": [0, 1, 2]}
    assert by_day_only.plan(group, BY_DAY).now == {}


def test_a_receiver_is_told_when_one_of_two_routes_to_it_is_not_mute():
    muting = Route(receivers=("one", "two"), mute_time_intervals=("night",), continue_=True)
    plan = router((muting, Route(receivers=("one",))), "fallback").plan(webhook.parse(webhook_body()), AT_NIGHT)
    assert plan.now == {"one": [0]}
    assert plan.muted == {"two": Muted([0], IN_THE_MORNING)}


LABELS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "x", "y", "xy"]), max_size=3)
MATCHERS = st.lists(
    st.builds(
        "".join,
        st.tuples(
            st.sampled_from("abc"), st.sampled_from(["=", "!=", "=~", "!~"]), st.sampled_from(["x", "x|y", "", ".+"])
        ),
    ),
    max_size=2,
)
NAMES = st.sampled_from(["one", "two", "three", "four"])


def trees(own_receivers, children):
    return st.lists(
        st.builds(
            Route,
            receivers=own_receivers,
            matchers=MATCHERS.map(Matchers.read),
            routes=children,
            continue_=st.booleans(),
            mute_time_intervals=st.sampled_from([(), ("night",)]),
            active_time_intervals=st.sampled_from([(), (), ("night",)]),
        ),
        max_size=3,
    ).map(tuple)


LEAVES = trees(st.sampled_from([(), ("one",), ("two",), ("three",)]), st.just(()))
TREES = trees(NAMES.map(lambda name: (name,)), LEAVES)


@settings(deadline=None)
@given(TREES, st.lists(LABELS, min_size=1, max_size=4), st.sampled_from([AT_NIGHT, BY_DAY]))
def test_no_alert_that_fires_is_ever_without_a_receiver(tree, labels, at):
    """Told now, or kept for when its route tells again."""
    routed = router(tree, "fallback")
    group = webhook.parse(webhook_body(*[(f"f{n}", "firing") for n in range(len(labels))]))
    bare = webhook.msgspec.structs.replace(
        group,
        alerts=tuple(
            webhook.msgspec.structs.replace(alert, labels=given)
            for alert, given in zip(group.alerts, labels, strict=True)
        ),
    )
    plan = routed.plan(bare, at)
    told = {position for positions in plan.now.values() for position in positions}
    kept = {position for muted in plan.muted.values() for position in muted.positions}
    assert told | kept == set(range(len(labels)))
    assert all(muted.until > at for muted in plan.muted.values())
    assert all(routed.receivers(one) for one in labels)


def alertmanager_route(route):
    told = {
        "receiver": route.receivers[0] if route.receivers else None,
        "matchers": [str(matcher) for matcher in route.matchers],
        "routes": [alertmanager_route(child) for child in route.routes],
        "continue": route.continue_,
    }
    return {name: value for name, value in told.items() if value}


def test_amtool_routes_through_a_tree_the_same(tmp_path):
    examples = []

    @settings(max_examples=60, database=None, derandomize=True, deadline=None)
    @given(TREES, LABELS)
    def draw(tree, labels):
        examples.append((tree, labels))

    draw()
    several = 0
    for tree, labels in examples:
        routes = [alertmanager_route(route) for route in tree]
        names = ["fallback", "one", "two", "three", "four"]
        whole = {"route": {"receiver": "fallback", "routes": routes}, "receivers": [{"name": name} for name in names]}
        config = tmp_path / "alertmanager.yml"
        config.write_text(yaml.safe_dump(whole), encoding="utf-8")
        pairs = [f'{name}="{value}"' for name, value in labels.items()]
        command = [AMTOOL, "config", "routes", "test", f"--config.file={config}", *pairs]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert tuple(dict.fromkeys(answer.split(","))) == router(tree, "fallback").receivers(labels), (tree, labels)
        several += "," in answer
    assert several > 3
