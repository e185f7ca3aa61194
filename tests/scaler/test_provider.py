"""Which series answer for a namespace and an object."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.config import ScalerSettings
from scaler.provider import ALL, Provider
from scaler.refusal import Refused
from scaler.selector import parse
from scaler.watch import Watch

RULES = """
metrics:
  - {name: Queue, api: external, query: sum(q), resource: {namespace: ns}}
  - {name: global, api: external, query: sum(q)}
  - {name: rps, api: custom, query: sum(q), resource: {namespace: ns, deployment: app, pod: pod}}
  - {name: rps, api: custom, query: sum(n), resource: {node: node}}
  - {name: load, api: custom, query: sum(n), resource: {namespace: ns}}
"""


@pytest.fixture
def provider(settings_of: Callable[[str], ScalerSettings], sample: Callable[..., Series]) -> Provider:
    clock = FakeClock()
    now = clock.now
    answers = {
        "sum(q)": [
            sample(1, now, ns="one", app="web", pod="web-1", verb="GET"),
            sample(2, now, ns="one", app="web", pod="web-2", verb="PUT"),
            sample(4, now, ns="one", app="api", pod="api-1", verb="GET"),
            sample(8, now, ns="two", app="web", pod="web-1", verb="GET"),
            sample(16, now, app="lost"),
        ],
        "sum(n)": [sample(3, now, node="n1", ns="one"), sample(5, now, node="n2", ns="two")],
    }
    source = FakeSource(answers.__getitem__, clock)
    watches = [Watch(rule, source, clock) for rule in settings_of(RULES).metrics]
    for watch in watches:
        watch.evaluate()
    return Provider(watches)


def refused(ask: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        ask()
    return caught.value


def test_a_namespace_sees_its_own_series_alone(provider: Provider) -> None:
    assert provider.external("Queue", "one").total == 7
    assert provider.external("queue", "two").total == 8
    assert refused(lambda: provider.external("queue", "three")).code == 404
    assert refused(lambda: provider.external("queue", "")).code == 404


def test_without_a_namespace_label_every_namespace_sees_the_same(provider: Provider) -> None:
    assert provider.external("global", "one").total == provider.external("global", "any").total == 31


def test_external_series_are_selected_by_label(provider: Provider) -> None:
    assert provider.external("queue", "one", parse("app in (web),verb!=PUT")).total == 1


def test_pods_are_found_by_name_and_all_at_once(provider: Provider) -> None:
    assert provider.custom("rps", "pods", "one", "web-2").total == 2
    answer = provider.custom("rps", "pods", "one", ALL, objects=parse("app=web"))
    assert list(answer.objects) == ["web-1", "web-2"]
    assert refused(lambda: provider.custom("rps", "pods", "one", "web-9")).code == 404


def test_several_series_of_one_object_are_not_added_up(provider: Provider) -> None:
    ambiguous = refused(lambda: provider.custom("rps", "deployments.apps", "one", "web"))
    assert ambiguous.code == 400
    assert "several series" in ambiguous.message
    assert provider.custom("rps", "deployments.apps", "one", "web", series=parse("verb=PUT")).total == 2


def test_objects_outside_of_namespaces_are_asked_for_outside(provider: Provider) -> None:
    assert provider.custom("rps", "nodes", None, "n1").total == 3
    assert provider.custom("load", "namespaces", None, "two").total == 5
    assert "belong to no namespace" in refused(lambda: provider.custom("rps", "nodes", "one", "n1")).message
    assert "belong to a namespace" in refused(lambda: provider.custom("rps", "pods", None, "web-1")).message


@pytest.mark.parametrize("selector", ["tier=front", "tier!=front", "!tier"])
def test_a_label_that_no_series_carries_selects_no_objects(provider: Provider, selector: str) -> None:
    """A pod's own labels are unknown here: `!tier` must not take every pod for one without it."""
    why = refused(lambda: provider.custom("rps", "pods", "one", ALL, objects=parse(selector)))
    assert "no series carries the label tier" in why.message


def test_a_metric_without_a_rule_is_not_found(provider: Provider) -> None:
    assert refused(lambda: provider.external("rps", "one")).code == 404
    assert refused(lambda: provider.custom("Rps", "pods", "one", "web-1")).code == 404
    assert (provider.name_of("QUEUE", ""), provider.name_of("rps", "nodes"), provider.name_of("x", "")) == (
        "Queue",
        "rps",
        "",
    )


def test_values_that_the_hpa_could_not_add_up_are_refused_together(
    settings_of: Callable[[str], ScalerSettings], sample: Callable[..., Series]
) -> None:
    clock = FakeClock()
    rules = "metrics: [{name: rps, api: custom, query: sum(q), resource: {namespace: ns, pod: pod}}]"
    pods = [sample(2.0**53, clock.now, ns="one", pod=name) for name in ("a", "b")]
    (rule,) = settings_of(rules).metrics
    watch = Watch(rule, FakeSource(lambda query: pods, clock), clock)
    watch.evaluate()
    provider = Provider([watch])
    assert provider.custom("rps", "pods", "one", "a").total == 2.0**53
    assert "beyond 2^53" in refused(lambda: provider.custom("rps", "pods", "one", ALL)).message
