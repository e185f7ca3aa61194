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
