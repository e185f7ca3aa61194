"""How many replicas a metric asks for, before anything limits it: the HPA's replica calculator.

Source: `pkg/controller/podautoscaler/replica_calculator.go` and `metrics/utilization.go` of Kubernetes 1.35. Values and
targets are whole thousandths, as the controller counts (`thousandths`). A recommendation may be negative or beyond the
maximum: `cloudpulse.hpa.Autoscaler` holds it. None of these functions keeps state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from cloudpulse.hpa import DEFAULT_TOLERANCE, Behavior

_LARGEST_COUNT = 2**31 - 1
_LARGEST_VALUE = 2**63 - 1


def thousandths(value: float | str | Decimal) -> int:
    """`value` in thousandths, rounded away from zero as a Quantity is; a float is its shortest decimal text.

    Raises ValueError for NaN, Inf and what the controller's 64 bits can't hold (about 9.2e15): there it silently
    becomes 0 or negative (hpa-response-cases: big-93e14), so nobody may scale on it.

    >>> thousandths(22.2), thousandths("0.0001"), thousandths(-5)
    (22200, 1, -5000)
    """
    exact = value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else value)
    if not exact.is_finite() or abs(exact) * 1000 > _LARGEST_VALUE:
        raise ValueError(f"{value} is not a number that can be scaled on")
    return int((exact * 1000).to_integral_value(ROUND_UP))


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far from 1 the ratio of value and target may be before anything happens."""

    down: float = DEFAULT_TOLERANCE
    up: float = DEFAULT_TOLERANCE

    @classmethod
    def of(cls, behavior: Behavior | None) -> Tolerances:
        """Those of a behavior; the controller's own without one."""
        return cls(behavior.scale_down.tolerance, behavior.scale_up.tolerance) if behavior else cls()

    def hold(self, ratio: float) -> bool:
        """Whether `ratio` is too near 1 to act."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


DEFAULT_TOLERANCES = Tolerances()


def external_average(
    values: Iterable[int], target: int, current: int, tolerances: Tolerances = DEFAULT_TOLERANCES
) -> int:
    """An External metric with an AverageValue target: the sum shared by `current` replicas (`status.replicas`).

    A sum that turns negative on the way counts as infinite, as it does in the controller.
    """
    total = 0
    for value in values:
        total += value
        if not 0 <= total <= _LARGEST_VALUE:
            total = _LARGEST_VALUE
            break
    return _average(total, target, current, tolerances)


def external_value(
    values: Iterable[int], target: int, current: int, ready: int, tolerances: Tolerances = DEFAULT_TOLERANCES
) -> int:
    """An External metric with a Value target: the sum over the target, times the `ready` pods."""
    return object_value(min(sum(values), _LARGEST_VALUE), target, current, ready, tolerances)


def object_average(value: int, target: int, current: int, tolerances: Tolerances = DEFAULT_TOLERANCES) -> int:
    """An Object metric with an AverageValue target."""
    return _average(value, target, current, tolerances)


def object_value(value: int, target: int, current: int, ready: int, tolerances: Tolerances = DEFAULT_TOLERANCES) -> int:
    """An Object metric with a Value target: value over target, times the `ready` pods; from 0 replicas the ratio."""
    ratio = value / target
    if current == 0:
        return _count(ratio)
    return current if tolerances.hold(ratio) else _count(ratio * ready)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that the target's selector selects.

    `unready` is judged for CPU alone; `gone` is one that failed or is leaving. `request` is in thousandths, and needed
    for a Utilization target alone.
    """

    name: str
    request: int = 0
    pending: bool = False
    unready: bool = False
    gone: bool = False


def pods_average(
    usage: Mapping[str, int],
    pods: Sequence[Pod],
    target: int,
    current: int,
    tolerances: Tolerances = DEFAULT_TOLERANCES,
) -> int | None:
    """A Pods metric, or a Resource with an AverageValue target; `usage` by the name of the pod. None: nothing usable.

    A missing pod counts as 0 on the way up and as the target on the way down; an unready one as 0 on the way up.
    """
    known = _known(usage, pods)

    def ratio(usages: Mapping[str, int]) -> float:
        return _truncated(sum(usages.values()), len(usages)) / target

    missing = dict.fromkeys(_missing(usage, pods), target)
    return _by_pods(known, missing, pods, current, tolerances, ratio) if pods and known else None


def pods_utilization(
    usage: Mapping[str, int],
    pods: Sequence[Pod],
    target_percent: int,
    current: int,
    tolerances: Tolerances = DEFAULT_TOLERANCES,
) -> int | None:
    """A Resource metric with a Utilization target, in percent of what the pods request. None: nothing usable.

    A missing pod counts as 0 on the way up and as its request on the way down (as the target, where that is above).
    """
    requests = {pod.name: pod.request for pod in pods}
    known = _known(usage, pods)

    def ratio(usages: Mapping[str, int]) -> float:
        named = [name for name in usages if name in requests]
        percent = _truncated(sum(usages[name] for name in named) * 100, sum(requests[name] for name in named))
        return percent / target_percent

    missing = {name: _truncated(requests[name] * max(100, target_percent), 100) for name in _missing(usage, pods)}
    if not any(requests.get(name) for name in known):
        return None
    return _by_pods(known, missing, pods, current, tolerances, ratio)


def highest(current: int, recommendations: Sequence[int | None]) -> int | None:
    """What several metrics ask for together; None stands for one that failed, and as an answer for all of them.

    While one fails, the others may scale up, but not down.
    """
    known = [count for count in recommendations if count is not None]
    if not known or (len(known) < len(recommendations) and max(known) < current):
        return None
    return max(known)


def _average(total: int, target: int, current: int, tolerances: Tolerances) -> int:
    if current and tolerances.hold(total / (target * current)):
        return current
    return _count(total / target)


def _known(usage: Mapping[str, int], pods: Sequence[Pod]) -> dict[str, int]:
    apart = {pod.name for pod in pods if pod.gone or pod.pending or pod.unready}
    return {name: value for name, value in usage.items() if name not in apart}


def _missing(usage: Mapping[str, int], pods: Sequence[Pod]) -> list[str]:
    return [pod.name for pod in pods if not (pod.gone or pod.pending) and pod.name not in usage]


def _by_pods(
    known: dict[str, int],
    missing: dict[str, int],
    pods: Sequence[Pod],
    current: int,
    tolerances: Tolerances,
    ratio_of: Callable[[Mapping[str, int]], float],
) -> int:
    ratio = ratio_of(known)
    unready = [pod.name for pod in pods if not pod.gone and (pod.pending or (pod.unready and pod.name not in missing))]
    up_with_unready = bool(unready) and ratio > 1.0
    if not up_with_unready and not missing:
        ready = len([pod for pod in pods if not pod.gone]) - len(unready)
        return current if tolerances.hold(ratio) else _count(ratio * ready)
    whole = dict(known)
    if ratio < 1.0:
        whole |= missing
    elif ratio > 1.0:
        whole |= dict.fromkeys(missing, 0)
    if up_with_unready:
        whole |= dict.fromkeys(unready, 0)
    again = ratio_of(whole)
    if tolerances.hold(again) or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return current
    count = _count(again * len(whole))
    if (again < 1.0 and count > current) or (again > 1.0 and count < current):
        return current
    return count


def _count(replicas: float) -> int:
    return math.ceil(min(replicas, _LARGEST_COUNT))


def _truncated(numerator: int, denominator: int) -> int:
    """Whole division towards zero, as Go's."""
    quotient = abs(numerator) // abs(denominator)
    return quotient if (numerator < 0) == (denominator < 0) else -quotient
