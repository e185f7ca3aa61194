"""Exactly the objects that a labelSelector selects, by the Kubernetes API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from scaler.cluster import objects
from scaler.cluster.remembered import Remembered, Turns
from scaler.config import ScalerSettings
from scaler.provider import ALL, Provider
from scaler.refusal import Refused
from scaler.selector import parse
from scaler.watch import Watch

from .fake_kubernetes import FakeKubernetes

RULES = """
metrics:
  - {name: rps, api: custom, query: sum(m), resource: {namespace: ns, pod: pod, deployment: app}}
  - {name: load, api: custom, query: sum(m), resource: {node: pod}}
"""
PODS = "/api/v1/namespaces/demo/pods"


@pytest.fixture
def kubernetes() -> FakeKubernetes:
    pods = {"web-1": {"app": "web"}, "web-2": {"app": "web", "canary": "yes"}, "api-1": {"app": "api"}, "idle": {}}
    return FakeKubernetes(
        {"requestheader-allowed-names": "[]"},
        objects={PODS: pods, "/apis/apps/v1/namespaces/demo/deployments": {"x": {"tier": "a"}}, "/api/v1/nodes": pods},
    )


@pytest.fixture
def ticks() -> FakeClock:
    return FakeClock()


@pytest.fixture
def provider(
    kubernetes: FakeKubernetes,
    ticks: FakeClock,
    connected: Callable[..., Any],
    settings_of: Callable[[str], ScalerSettings],
    sample: Callable[..., Series],
    tmp_path: Path,
) -> Iterator[Provider]:
    clock = FakeClock()
    source = FakeSource(
        lambda query: [
            sample(i, clock.now, ns=ns, pod=pod, app="x")
            for i, (ns, pod) in enumerate(
                [("demo", "web-1"), ("demo", "web-2"), ("demo", "api-1"), ("demo", "gone"), ("other", "web-1")]
            )
        ],
        clock,
    )
    watches = [Watch(rule, source, clock) for rule in settings_of(RULES).metrics]
    for watch in watches:
        watch.evaluate()
    with connected(kubernetes, tmp_path, ticks) as cluster:
        yield Provider(watches, cluster.objects)


def _pods(provider: Provider, selector: str) -> list[str]:
    return list(provider.custom("rps", "pods", "demo", ALL, objects=parse(selector)).objects)


def _refused(provider: Provider, selector: str) -> Refused:
    with pytest.raises(Refused) as caught:
        _pods(provider, selector)
    return caught.value


def test_the_selected_pods_are_listed_though_no_series_carries_their_labels(
    provider: Provider, kubernetes: FakeKubernetes
) -> None:
    assert _pods(provider, "app=web") == ["web-1", "web-2"]
    assert _pods(provider, "app in (api,web),!canary") == ["web-1", "api-1"]
    assert _pods(provider, "app notin (web)") == ["api-1"]
    assert kubernetes.asked[0] == f"{PODS}?labelSelector=app%3Dweb&limit=500"


def test_pods_that_are_selected_and_have_no_series_are_no_items(provider: Provider) -> None:
    assert _refused(provider, "app=nothing").code == 404
    assert "has no series for pods" in _refused(provider, "app=nothing").message


def test_without_a_selector_nothing_is_asked(provider: Provider, kubernetes: FakeKubernetes) -> None:
    assert _pods(provider, "") == ["web-1", "web-2", "api-1", "gone"]
    assert kubernetes.asked == []


def test_other_kinds_are_asked_for_where_they_live(provider: Provider, kubernetes: FakeKubernetes) -> None:
    with pytest.raises(Refused, match="several series describe the same object"):
        provider.custom("rps", "deployments.apps", "demo", ALL, objects=parse("tier=a"))
    with pytest.raises(Refused, match="several series describe the same object"):
        provider.custom("load", "nodes", None, ALL, objects=parse("app=web"))
    assert [path.partition("?")[0] for path in kubernetes.asked] == [
        "/apis/apps/v1/namespaces/demo/deployments",
        "/api/v1/nodes",
    ]


def test_a_long_list_is_read_page_by_page(
    provider: Provider, kubernetes: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAGE", 1)
    assert _pods(provider, "app") == ["web-1", "web-2", "api-1"]
    assert len(kubernetes.asked) == 3
    monkeypatch.setattr(objects, "MOST_PAGES", 2)
    assert _refused(provider, "app,app").code == 503


def test_a_list_counts_for_seconds(provider: Provider, kubernetes: FakeKubernetes, ticks: FakeClock) -> None:
    assert _pods(provider, "app=web") == ["web-1", "web-2"]
    del kubernetes.objects[PODS]["web-1"]
    assert _pods(provider, "app=web") == ["web-1", "web-2"]
    ticks.advance(10)
    assert _pods(provider, "app=web") == ["web-2"]


def test_what_can_not_be_asked_is_refused(provider: Provider, kubernetes: FakeKubernetes, ticks: FakeClock) -> None:
    assert _pods(provider, "app=web")
    kubernetes.forbidden = (PODS,)
    ticks.advance(10)
    refused = _refused(provider, "app=web")
    assert (refused.code, "let the scaler list pods" in refused.message) == (503, True)
    kubernetes.stop()
    assert "does not answer" in _refused(provider, "app=web").message
    kubernetes.forbidden = ()
    kubernetes.start()
    assert _pods(provider, "app=web") == ["web-1", "web-2"]


def test_the_same_is_asked_once_at_a_time() -> None:
    begun, release, asked = threading.Event(), threading.Event(), []

    def ask() -> int:
        asked.append(1)
        begun.set()
        release.wait(10)
        return len(asked)

    remembered: Remembered[str, int] = Remembered(10, 2, FakeClock(), Turns(8))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(remembered.get, "a", ask)
        begun.wait(10)
        others = [pool.submit(remembered.get, "a", ask) for _ in range(7)]
        time.sleep(0.05)
        release.set()
        assert {first.result(10), *(other.result(10) for other in others)} == {1}


def test_a_failure_reaches_all_who_wait_and_is_not_remembered() -> None:
    begun, release = threading.Event(), threading.Event()

    def fail() -> int:
        begun.set()
        release.wait(10)
        raise TimeoutError

    remembered: Remembered[str, int] = Remembered(10, 2, FakeClock(), Turns(8))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(remembered.get, "a", fail)
        begun.wait(10)
        second = pool.submit(remembered.get, "a", fail)
        time.sleep(0.05)
        release.set()
        for asked in (first, second):
            with pytest.raises(TimeoutError):
                asked.result(10)
    assert remembered.get("a", lambda: 7) == 7


def test_no_more_is_remembered_than_is_allowed() -> None:
    clock = FakeClock()
    remembered: Remembered[int, int] = Remembered(10, 3, clock, Turns(1))
    for key in range(10):
        remembered.get(key, lambda key=key: key)  # type: ignore[misc]  # a default binds the loop's value
        clock.advance(1)
    assert len(remembered._answers) == 3
    assert remembered.get(9, lambda: -1) == 9
    assert remembered.get(0, lambda: -1) == -1
