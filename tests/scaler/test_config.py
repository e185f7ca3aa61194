"""The `scaler` section: what is refused at start, and how it is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cloudpulse.errors import ConfigError
from scaler.config import ScalerSettings

Read = Callable[..., ScalerSettings]


def test_a_full_section_is_read(settings_of: Read) -> None:
    settings = settings_of("""
data_dir: /var/lib/cloudpulse
metrics:
  - {name: Ahead, api: external, forecast: web_rps, horizon: 15m, level: 0.5, clamp: {min: 0, max: 10}, max_age: 5m,
     reactive: sum(rps), gate: {mase: .inf, coverage: 1}, mode: shadow}
  - {name: auto, api: external, forecast: web_rps, cost: {short: 5, idle: 1}, ready: {query: r}, floor: none}
  - {name: rps, api: custom, query: 'sum by (namespace, pod) (rate(x[5m]))', resource: {namespace: namespace, pod: pod}}
  - {name: size, api: custom, query: q, resource: {namespace: ns, widgets.example.com/v1/Widget: widget}}
auth: {client_ca_file: ca.pem, tokens: [{name: hpa, token: abc}]}
tls: {cert_file: a.crt, key_file: a.key}
interval: 30s
""")
    ahead, auto, rps, size = settings.metrics
    assert (ahead.horizon, ahead.fixed_horizon, ahead.max_age, ahead.clamp.apply(99)) == ("15m", 900, 300, 10)
    assert (auto.fixed_horizon, auto.ready_query, auto.measured) == (None, "r", None)
    assert auto.cost is not None
    assert auto.cost.level == pytest.approx(5 / 6)
    assert list(rps.objects) == ["pods"]
    assert size.objects["widgets.example.com"][0].api_version == "example.com/v1"
    assert "abc" not in repr(settings)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{api: external, query: q}", "missing key `name`"),
        ("{name: a, api: extern, query: q}", "extern"),
        ("{name: a/b, api: external, query: q}", 'name: expected a text without "/"'),
        ("{name: .., api: external, query: q}", 'name: expected a text without "/"'),
        ("{name: a, api: external}", "exactly one of forecast and query"),
        ("{name: a, api: external, forecast: f, query: q, horizon: 5m}", "exactly one of forecast and query"),
        ("{name: a, api: external, forecast: f}", "what is measured now is not known"),
        ("{name: a, api: external, forecast: f, floor: none, mode: shadow}", "what is measured now is not known"),
        ("{name: a, api: external, forecast: f, reactive: ' '}", "reactive: expected a PromQL expression"),
        ("{name: a, api: external, forecast: f, ready: soon}", 'ready: expected a duration such as 1m, got "soon"'),
        ("{name: a, api: external, forecast: f, ready: {query: ''}}", "ready.query: expected a PromQL expression"),
        ("{name: a, api: external, forecast: f, ready: 2m, horizon: 5m}", "ready goes with horizon: auto"),
        ("{name: a, api: external, forecast: f, horizon: 0s}", "horizon: expected more than 0s"),
        ("{name: a, api: external, forecast: f, horizon: 15}", "expected a text"),
        ("{name: a, api: external, forecast: f, level: 0.9, cost: {short: 1, idle: 1}}", "level or cost, got both"),
        ("{name: a, api: external, forecast: f, cost: {short: 1, idle: 0}}", "idle: expected a number above 0"),
        ("{name: a, api: external, forecast: f, gate: {mase: .nan}}", "mase: expected a number above 0"),
        ("{name: a, api: external, forecast: f, gate: {coverage: 0}}", "coverage: expected a number above 0"),
        ("{name: a, api: external, forecast: f, gate: {hysteresis: 1}}", "hysteresis: expected 0 or more"),
        ("{name: a, api: external, forecast: f, floor: 3}", "expected a text"),
        ("{name: a, api: external, forecast: f, mode: off}", "expected a text"),
        ("{name: a, api: external, query: q, floor: none}", "floor goes with forecast"),
        ("{name: a, api: external, query: q, mode: shadow}", "mode goes with forecast"),
        ("{name: a, api: external, query: q, level: 0.5}", "level goes with forecast"),
        ("{name: a, api: external, forecast: 'F\"}', horizon: 5m}", "forecast: expected the name of a forecast"),
        ("{name: a, api: external, forecast: f, horizon: soon}", "expected a duration such as 1m"),
        ("{name: a, api: external, forecast: f, horizon: 5m, level: 90}", "level: expected a number between 0 and 1"),
        ("{name: a, api: external, query: q, horizon: 5m}", "horizon goes with forecast"),
        ("{name: a, api: external, query: ' '}", "query: expected a PromQL expression"),
        ("{name: a, api: external, query: q, resource: {pod: pod}}", "an external metric describes no object"),
        ("{name: a, api: custom, query: q}", "resource: missing"),
        ("{name: a, api: custom, query: q, resource: {namespace: n, gadget: g}}", 'unknown kind "gadget"'),
        ("{name: a, api: custom, query: q, resource: {pod: pod}}", "pod is namespaced, add namespace: LABEL"),
        ("{name: a, api: custom, query: q, resource: {namespace: n, node: node}}", "node belongs to no namespace"),
        ("{name: a, api: external, query: q, clamp: {min: 2, max: 1}}", "expected min not above max"),
        ("{name: a, api: external, query: q, clamp: {max: .nan}}", "expected a number within"),
        ("{name: a, api: external, query: q, max_age: 1s}", "max_age 1s is shorter than interval 15s"),
        ("{name: a, api: external, query: q, floors: reactive}", "unknown key `floors`"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(settings_of: Read, rule: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"scaler") as caught:
        settings_of(f"metrics: [{rule}]")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "rules",
    [
        "{name: QueueDepth, api: external, query: q}, {name: queuedepth, api: external, query: r}",
        "{name: a, api: custom, query: q, resource: {node: n}}, {name: a, api: custom, query: r, resource: {node: n}}",
    ],
)
def test_two_rules_for_one_metric_are_refused(settings_of: Read, rules: str) -> None:
    """Kubernetes asks for external names in lower case: two that differ by case alone are one."""
    with pytest.raises(ConfigError, match="is the same metric as"):
        settings_of(f"metrics: [{rules}]")


def test_custom_names_keep_their_case(settings_of: Read) -> None:
    rules = (
        "{name: A, api: custom, query: q, resource: {node: n}}, {name: a, api: custom, query: r, resource: {node: n}}"
    )
    assert len(settings_of(f"metrics: [{rules}]").metrics) == 2


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ("{mode: cluster}", "auth.mode"),
        ("{kubeconfig: k}", "kubeconfig goes with mode: delegated"),
        ("{mode: delegated, tokens: [{name: a, token: b}]}", "go with mode: static"),
        ("{mode: delegated, anonymous: true}", "go with mode: static"),
        ("{mode: delegated, client_ca_file: ca.pem}", "go with mode: static"),
    ],
)
def test_the_two_ways_to_say_who_may_read_are_not_mixed(settings_of: Read, auth: str, message: str) -> None:
    with pytest.raises(ConfigError, match="scaler") as caught:
        settings_of(f"auth: {auth}")
    assert message in str(caught.value)


def test_what_is_measured_is_the_forecasts_own_query_unless_the_rule_says_it(settings_of: Read) -> None:
    forecasts = "[{name: f, query: 'sum(rps)', step: not the scaler's to check}, {query: x}, {name: g}]"
    rules = "{name: a, api: external, forecast: f}, {name: b, api: external, forecast: f, reactive: other}"
    assert [rule.measured for rule in settings_of(f"metrics: [{rules}]", forecasts).metrics] == ["sum(rps)", "other"]
    assert [rule.step for rule in settings_of(f"metrics: [{rules}]", forecasts).metrics] == [None, None]
    rules = "{name: a, api: external, forecast: f}, {name: b, api: external, forecast: f, step: 30s}"
    read = settings_of(f"metrics: [{rules}]", "[{name: f, query: x, step: 5m}]").metrics
    assert [str(rule.step) for rule in read] == ["5m", "30s"]
    with pytest.raises(ConfigError, match=r"scaler.metrics\[0\]: what is measured now .* has no h: add reactive:"):
        settings_of("metrics: [{name: a, api: external, forecast: h}]", forecasts)
