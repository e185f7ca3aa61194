from alert_bridge import webhook
from alert_bridge.router import Route, Router
from alert_bridge.testing import webhook_body

ROUTES = (
    Route(match={"team": "shop"}, receivers=("shop", "audit"), continue_=True),
    Route(match={"severity": "critical"}, receivers=("oncall", "audit")),
    Route(match={"severity": "critical", "team": "shop"}, receivers=("never",)),
    Route(match={"severity": ""}, receivers=("untold",)),
)


def test_the_first_match_is_the_last_asked_unless_it_continues():
    router = Router(ROUTES, ["fallback"])
    assert router.receivers({"severity": "critical"}) == ("oncall", "audit")
    assert router.receivers({"severity": "critical", "team": "shop"}) == ("shop", "audit", "oncall")
    assert router.receivers({"severity": "warning", "team": "shop"}) == ("shop", "audit")


def test_a_missing_label_counts_as_empty():
    assert Router(ROUTES, ["fallback"]).receivers({"alertname": "x"}) == ("untold",)


def test_what_no_route_takes_goes_to_every_fallback():
    assert Router(ROUTES, ["one", "two"]).receivers({"severity": "warning"}) == ("one", "two")
    assert Router((), ["one", "two"]).receivers({}) == ("one", "two")


def test_a_route_without_match_takes_all():
    assert Router((Route(receivers=("all",)),), ["fallback"]).receivers({"a": "b"}) == ("all",)


def test_each_alert_of_a_group_goes_its_own_way():
    body = webhook_body(("a", "firing"), ("b", "firing"), ("c", "firing"))
    body = body.replace(b'"pod": "b"', b'"severity": "critical"')
    deliveries = Router(ROUTES[1:2], ["chat"]).deliveries(webhook.parse(body))
    assert deliveries == {"chat": [0, 2], "oncall": [1], "audit": [1]}
