"""Replicas that a metric asks for: what a real HPA (1.36) made of each captured answer, and the documented rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudpulse.hpa import Autoscaler, Behavior, ScalingRules
from cloudpulse.recommendation import (
    Pod,
    Tolerances,
    external_average,
    external_value,
    highest,
    object_average,
    object_value,
    pods_average,
    pods_utilization,
    thousandths,
)

CASES = Path(__file__).parents[1] / "scaler" / "data" / "hpa-response-cases.jsonl"
TARGET = thousandths(10)  # "Every target is 10" (the fixtures' README)
TEXT_OF = {"2k": "2e3", "2Ki": "2048", "1500m": "1.5", "500m": "0.5", "100u": "1e-4", "1n": "1e-9", "2M": "2e6"}
BEYOND = {"1e30", "1e20", "9.3e15", "1e16", "1e18", "9e18", "1e19", "9900000000000000000", "18446744073709551616"} | {
    "9223372036854775807"
}


def _answered(case: dict[str, Any]) -> list[str] | None:
    """The values that the controller read; None where the answer was refused before any number was looked at."""
    body = case["response"].get("body")
    items = body.get("items") if isinstance(body, dict) else None
    if case["hpa"]["desired_replicas"] is None and case["case"] != "mix-fail-down":
        return None
    return [str(item.get("value") or 0).strip() for item in items or []]


def _cases() -> Iterator[Any]:
    for case in map(json.loads, CASES.read_text().splitlines()):
        yield pytest.param(case, _answered(case), id=case["case"])


def _pods_case(case: dict[str, Any], values: list[int], current: int) -> int | None:
    items = case["response"]["body"]["items"]
    names = [item["describedObject"]["name"] for item in items]
    strangers = {"p-extra": 1, "p-other-only": 1}.get(case["case"], 0)
    ours = names[: len(names) - strangers]
    pods = [Pod(name) for name in [*ours, "unlisted-1", "unlisted-2"][:current]]
    return pods_average(dict(zip(names, values, strict=True)), pods, TARGET, current)


def _recommendation(case: dict[str, Any], values: list[int], current: int) -> int | None:
    name, kind = case["case"], case["metric_type"]
    if kind == "pods":
        return _pods_case(case, values, current)
    by_value = "value" in (case["hpa"]["current"] or {})
    if kind == "object":
        rule = (
            object_value(values[0], TARGET, current, current)
            if by_value
            else object_average(values[0], TARGET, current)
        )
    elif by_value:
        rule = external_value(values, TARGET, current, current)
    else:
        rule = external_average(values, TARGET, current)
    return highest(current, [rule, None]) if name.startswith("mix-fail") else rule


@pytest.mark.parametrize(("case", "texts"), [*_cases()])
def test_a_captured_answer_moves_the_replicas_as_the_real_hpa_was_moved(
    case: dict[str, Any], texts: list[str] | None
) -> None:
    """Each ran for several periods, so that the replicas settle; answers that the HPA refused leave them alone."""
    autoscaler = Autoscaler(1, case["max_replicas"])
    current = case["start_replicas"]
    if texts is not None and BEYOND & {*texts}:
        # The controller's 64 bits overflow: what it makes of that is a trap, which `thousandths` refuses instead.
        with pytest.raises(ValueError, match="can be scaled on"):
            [thousandths(text) for text in texts]
        return
    values = [thousandths(TEXT_OF.get(text, text)) for text in texts] if texts is not None else None
    for period in range(80):
        wanted = _recommendation(case, values, current) if values is not None else None
        decision = autoscaler.decide(period * 5.0, current, wanted)
        autoscaler.changed(period * 5.0, current, decision.replicas)
        current = decision.replicas
    expected = case["hpa"]["desired_replicas"]
    assert current == (case["start_replicas"] if expected is None else expected)


def test_the_documented_ratio_gives_the_documented_replicas() -> None:
    """docs: Algorithm details: 200m over a target of 100m doubles, 50m halves; ceil rounds up."""
    two = [Pod("a"), Pod("b")]
    assert pods_average({"a": 200, "b": 200}, two, 100, 2) == 4
    assert pods_average({"a": 50, "b": 50}, two, 100, 2) == 1
    assert external_average([41_000], TARGET, 2) == 5


def test_within_the_tolerance_nothing_happens_and_each_direction_has_its_own() -> None:
    """docs: Algorithm details ("sufficiently close to 1.0") and Tolerance (per direction, KEP-4951)."""
    assert external_average([22_000], TARGET, 2) == 2
    assert external_average([18_000], TARGET, 2) == 2
    behavior = Behavior(ScalingRules(0, (), tolerance=0.0), ScalingRules(0, (), tolerance=0.2))
    assert external_average([20_001], TARGET, 2, Tolerances.of(behavior)) == 3
    assert external_average([16_000], TARGET, 2, Tolerances.of(behavior)) == 2
    assert external_average([15_999], TARGET, 2, Tolerances.of(behavior)) == 2  # ceil(1.5999)
    assert external_average([9_000], TARGET, 2, Tolerances.of(behavior)) == 1


def test_from_zero_replicas_the_tolerance_does_not_count() -> None:
    """replica_calculator.go: getUsageRatioReplicaCount; an average over no pods is beyond any tolerance."""
    assert external_average([25_000], TARGET, 0) == 3
    assert external_average([0], TARGET, 0) == 0
    assert object_value(15_000, TARGET, 0, 0) == 2


def test_utilization_is_a_whole_percentage_of_what_is_requested() -> None:
    """docs: Algorithm details; utilization.go cuts the percentage off: 119.9 % over 100 % is 119."""
    pods = [Pod("a", request=1000), Pod("b", request=1000)]
    assert pods_utilization({"a": 1200, "b": 1198}, pods, 100, 2) == 3
    assert pods_utilization({"a": 1100, "b": 1108}, pods, 100, 2) == 2
    assert pods_utilization({"a": 300, "b": 300}, pods, 100, 2) == 1


def test_missing_pods_are_full_on_the_way_down_and_idle_on_the_way_up() -> None:
    """docs: Algorithm details ("assume the pods are consuming 100% ... 0%"); above 100 % the target (1.32)."""
    pods = [Pod(name, request=1000) for name in "abcd"]
    # down: (100 + 100 + 1000 + 1000) / 4000 = 55 % over 80 %: 0.6875 * 4 = 2.75
    assert pods_utilization({"a": 100, "b": 100}, pods, 80, 4) == 3
    # up: (2000 + 2000 + 0 + 0) / 4000 = 100 % over 80 %: 1.25 * 4
    assert pods_utilization({"a": 2000, "b": 2000}, pods, 80, 4) == 5
    # down: (100 + 100 + 2000 + 2000) / 4000 = 105 % over 200 %: 0.525 * 4
    assert pods_utilization({"a": 100, "b": 100}, pods, 200, 4) == 3


def test_missing_pods_never_turn_the_direction() -> None:
    """docs: Algorithm details ("If the new ratio reverses the scale direction ... doesn't take any scaling action")."""
    pods = [Pod(name) for name in "abcd"]
    assert pods_average({"a": 20_000}, pods, TARGET, 4) == 4  # 2.0, with three idle 0.5


def test_pods_that_are_not_ready_are_idle_on_the_way_up_and_out_of_the_way_down() -> None:
    """docs: Algorithm details ("the pod is set aside" and "assume ... 0% of the desired metric")."""
    pods = [Pod("a"), Pod("b"), Pod("c", pending=True), Pod("d", unready=True), Pod("e", gone=True)]
    # up: (30 + 30 + 0 + 0) / 4 = 15 over 10: 1.5 * 4; without them 3.0 * 2
    assert pods_average({"a": 30_000, "b": 30_000, "d": 90_000, "e": 90_000}, pods, TARGET, 4) == 6
    # down: the two ready ones alone, 0.5 * 2
    assert pods_average({"a": 5_000, "b": 5_000, "d": 90_000}, pods, TARGET, 4) == 1


def test_without_a_single_usable_pod_there_is_no_recommendation() -> None:
    assert pods_average({"a": 5_000}, [Pod("a", unready=True)], TARGET, 1) is None
    assert pods_average({}, [Pod("a")], TARGET, 1) is None
    assert pods_average({"a": 5_000}, [], TARGET, 1) is None
    assert pods_utilization({"x": 5_000}, [Pod("a", request=1)], 80, 1) is None


def test_of_several_metrics_the_highest_counts_and_a_failed_one_forbids_to_shrink() -> None:
    """docs: Scaling on multiple metrics."""
    assert highest(4, [3, 6, 2]) == 6
    assert highest(4, [5, None]) == 5
    assert highest(4, [3, None]) is None
    assert highest(4, [None, None]) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e16, "1e30"])
def test_no_number_that_overflows_the_controller_is_counted(value: float | str) -> None:
    with pytest.raises(ValueError, match="can be scaled on"):
        thousandths(value)
