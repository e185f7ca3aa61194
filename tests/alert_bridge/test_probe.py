from pathlib import Path

import pytest
from click.testing import CliRunner

from alert_bridge.config import AlertBridgeSettings
from alert_bridge.probe import destinations, examine
from cloudpulse import config
from cloudpulse.check import command
from cloudpulse.errors import ConfigError
from cloudpulse.testing import FakeSource

LINES = """
  receivers: [{name: oncall, type: log}, {name: chat, type: log}, {name: nobody, type: log}]
  fallback: [chat]
  time_intervals: [{name: night, time_intervals: [{times: [{start_time: 00:00, end_time: 06:00}]}]}]
  routes:
    - matchers: ['severity=~"critical|page"']
      receivers: [oncall]
      continue: true
      routes: [{match: {team: web}, receivers: [chat], mute_time_intervals: [night]}]
    - match: {team: db}
      receivers: [oncall]
"""
AT_NIGHT = 1_700_000_000 // 86400 * 86400 + 3 * 3600


def settings(lines):
    return config.parse(f"alert_bridge:{lines}", Path("c.yaml"), {}).section("alert_bridge", AlertBridgeSettings)


def findings(lines):
    (examined,) = examine(settings(lines), FakeSource(lambda _: [], lambda: 0.0))
    return [(one.grade, one.subject, one.text) for one in examined.findings]


def test_routes_that_are_fine_are_said_to_be_and_a_receiver_that_hears_nothing_is_named():
    assert findings(LINES) == [
        ("ok", "order", "2 routes, each of which can be reached"),
        ("note", "rest", "what no route takes goes to chat"),
        ("warn", "nobody", "no route leads to this receiver: it is never told anything"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "reached"),
    [
        ("{receivers: [log]}", "{match: {a: b}, receivers: [log]}", False),
        ("{receivers: [log], continue: true}", "{match: {a: b}, receivers: [log]}", True),
        ("{match: {a: b}, receivers: [log]}", "{matchers: ['c=d,a=b'], receivers: [log]}", False),
        ("{match: {a: b}, receivers: [log]}", "{matchers: ['c=d'], receivers: [log]}", True),
        ("{matchers: ['a=~b'], receivers: [log]}", "{matchers: ['a=~b', c!=d], receivers: [log]}", False),
    ],
)
def test_a_route_behind_one_that_takes_all_of_its_alerts_is_named(before, after, reached):
    routes = f"[{before}, {after}]"
    told = [found for found in findings(f"\n  routes: {routes}") if found[0] == "warn"]
    nested = [
        found for found in findings(f"\n  routes: [{{receivers: [log], routes: {routes}}}]") if found[0] == "warn"
    ]
    text = "never asked: {}[0] takes all of its alerts; move it up, or continue there"
    assert told == ([] if reached else [("warn", "routes[1]", text.format("routes"))])
    assert nested == ([] if reached else [("warn", "routes[0].routes[1]", text.format("routes[0].routes"))])


def test_it_says_where_an_alert_goes_and_what_is_mute():
    read = settings(LINES)
    assert list(destinations(read, "severity=page", AT_NIGHT)) == ["alert_bridge.routes[0]: oncall"]
    assert list(destinations(read, "severity=info", AT_NIGHT)) == ["alert_bridge.fallback: chat"]
    assert list(destinations(read, '{severity="critical", team="web"}', AT_NIGHT)) == [
        "alert_bridge.routes[0].routes[0]: chat (mute, looked at again 2023-11-14 06:00 UTC)"
    ]
    assert list(destinations(read, "severity=page,team=db", AT_NIGHT)) == [
        "alert_bridge.routes[0]: oncall",
        "alert_bridge.routes[1]: oncall",
    ]
    with pytest.raises(ConfigError, match="--route: expected labels such as"):
        list(destinations(read, "severity=~page", AT_NIGHT))
    with pytest.raises(ConfigError, match="--route: column 9: expected an operator"):
        list(destinations(read, "severity", AT_NIGHT))


def test_check_shows_the_route_of_an_alert(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"alert_bridge:{LINES}", encoding="utf-8")
    done = CliRunner().invoke(command, ["--config", str(path), "--route", "team=db"])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "alert_bridge.routes[1]: oncall"
