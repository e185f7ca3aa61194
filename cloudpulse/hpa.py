"""The Kubernetes HorizontalPodAutoscaler's own decision: from what the metrics ask for to replicas.

Stabilisation windows, policies, minimum and maximum, as `pkg/controller/podautoscaler/horizontal.go` of Kubernetes 1.35
has them. What the metrics ask for is `cloudpulse/recommendation.py`; manifests are read by `cloudpulse/manifest.py`.
No clock, no I/O: the time is passed. An Autoscaler belongs to one thread.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

DEFAULT_TOLERANCE = 0.1
"""`--horizontal-pod-autoscaler-tolerance` of kube-controller-manager."""
DEFAULT_DOWN_WINDOW_SECONDS = 300
"""`--horizontal-pod-autoscaler-downscale-stabilization` of kube-controller-manager."""
DEFAULT_SYNC_SECONDS = 15
"""`--horizontal-pod-autoscaler-sync-period` of kube-controller-manager."""

Select = Literal["Max", "Min", "Disabled"]
Stabilized = Literal["ScaleUpStabilized", "ScaleDownStabilized"]


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `value` pods, or percent of the pods at the period's start, within any `period_seconds`."""

    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """How fast one direction may go; `select_policy` Max is the policy that allows most, Disabled forbids."""

    stabilization_window_seconds: int
    policies: tuple[Policy, ...]
    select_policy: Select = "Max"
    tolerance: float = DEFAULT_TOLERANCE


DEFAULT_UP = ScalingRules(0, (Policy("Pods", 4, 15), Policy("Percent", 100, 15)))
DEFAULT_DOWN = ScalingRules(DEFAULT_DOWN_WINDOW_SECONDS, (Policy("Percent", 100, 15),))


@dataclass(frozen=True, slots=True)
class Behavior:
    """Both directions; the defaults are those of a manifest whose `behavior` leaves them out.

    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#default-behavior
    """

    scale_up: ScalingRules = DEFAULT_UP
    scale_down: ScalingRules = DEFAULT_DOWN


@dataclass(frozen=True, slots=True)
class Decision:
    """Replicas to have now, and what held them off the recommendation, in the HPA's own condition reasons."""

    replicas: int
    stabilized: Stabilized | None = None
    limited: Literal["ScaleUpLimit", "ScaleDownLimit", "TooManyReplicas", "TooFewReplicas"] | None = None
    inactive: Literal["ScalingDisabled", "FailedGetMetric"] | None = None

    @property
    def reason(self) -> str:
        """One sentence for a log."""
        return " and ".join(_REASONS[word] for word in (self.inactive, self.stabilized, self.limited) if word) or (
            "the recommendation is within what is allowed"
        )


_REASONS = {
    "ScalingDisabled": "scaling is disabled, since there are 0 replicas and the minimum isn't 0",
    "FailedGetMetric": "there is no recommendation, so that the replicas stay",
    "ScaleUpStabilized": "a recent recommendation was lower and is followed",
    "ScaleDownStabilized": "a recent recommendation was higher and is followed",
    "ScaleUpLimit": "the policies allow no faster growth",
    "ScaleDownLimit": "the policies allow no faster shrinking",
    "TooManyReplicas": "the maximum is reached",
    "TooFewReplicas": "the minimum is reached",
}


class Autoscaler:
    """One HPA: decides at each sync, remembering recommendations and changes of scale.

    Without a `behavior` it follows the older rule that the controller keeps for a manifest without one: recommendations
    of `DEFAULT_DOWN_WINDOW_SECONDS` hold a shrinking, and one sync at most doubles the replicas, or makes them 4.
    """

    def __init__(self, minimum: int, maximum: int, behavior: Behavior | None = None) -> None:
        """Raises ValueError unless 0 <= minimum <= maximum and maximum >= 1."""
        if minimum < 0 or maximum < 1 or minimum > maximum:
            raise ValueError(f"expected 0 <= minimum <= maximum and maximum >= 1, got {minimum} and {maximum}")
        self.minimum = minimum
        self.maximum = maximum
        self.behavior = behavior
        up, down = (behavior.scale_up, behavior.scale_down) if behavior else (DEFAULT_UP, DEFAULT_DOWN)
        self._lowest = _Window(up.stabilization_window_seconds, sign=-1)
        self._highest = _Window(down.stabilization_window_seconds, sign=1, closed=behavior is None)
        self._ups: list[_Change] = []
        self._downs: list[_Change] = []
        self._started = False

    def decide(self, now: float, current: int, recommendation: int | None) -> Decision:
        """Replicas to have at `now` (seconds, never falling), with `current` asked for; None is metrics that failed.

        The caller tells `changed` once the replicas were really changed.
        """
        if not self._started:
            self._started = True
            self._remember(now, current)
        if current == 0 and self.minimum != 0:
            return Decision(0, inactive="ScalingDisabled")
        if current > self.maximum:
            return Decision(self.maximum, limited="TooManyReplicas")
        if current < self.minimum:
            return Decision(self.minimum, limited="TooFewReplicas")
        if recommendation is None:
            return Decision(current, inactive="FailedGetMetric")
        wanted = max(recommendation, 0)
        if self.behavior is None:
            return self._decide_without_behavior(now, current, wanted)
        return self._decide(now, current, wanted, self.behavior)

    def changed(self, now: float, before: int, after: int) -> None:
        """Remember a change of scale that succeeded; policies count it."""
        if self.behavior is None or before == after:
            return
        if after > before:
            _store(self._ups, self.behavior.scale_up.policies, now, after - before)
        else:
            _store(self._downs, self.behavior.scale_down.policies, now, before - after)

    def _remember(self, now: float, recommendation: int) -> None:
        self._lowest.add(now, recommendation)
        self._highest.add(now, recommendation)

    def _decide(self, now: float, current: int, wanted: int, behavior: Behavior) -> Decision:
        lowest = min(wanted, self._lowest.extreme(now, wanted))
        highest = max(wanted, self._highest.extreme(now, wanted))
        stable = min(max(current, lowest), highest)
        self._remember(now, wanted)
        stabilized: Stabilized | None = None
        if stable != wanted:
            stabilized = "ScaleUpStabilized" if wanted >= current else "ScaleDownStabilized"
        if stable > current:
            limit = max(current, self._up_limit(now, current, behavior.scale_up))
            if stable > min(limit, self.maximum):
                if self.maximum > limit:
                    return Decision(limit, stabilized, "ScaleUpLimit")
                return Decision(self.maximum, stabilized, "TooManyReplicas")
        elif stable < current:
            limit = min(current, self._down_limit(now, current, behavior.scale_down))
            if stable < max(limit, self.minimum):
                if self.minimum < limit:
                    return Decision(limit, stabilized, "ScaleDownLimit")
                return Decision(self.minimum, stabilized, "TooFewReplicas")
        return Decision(stable, stabilized)

    def _decide_without_behavior(self, now: float, current: int, wanted: int) -> Decision:
        stable = max(wanted, self._highest.extreme(now, wanted))
        self._highest.add(now, wanted)
        stabilized: Stabilized | None = "ScaleDownStabilized" if stable != wanted else None
        limit = max(2 * current, 4)
        if stable < self.minimum:
            return Decision(self.minimum, stabilized, "TooFewReplicas")
        if stable > min(limit, self.maximum):
            if self.maximum > limit:
                return Decision(limit, stabilized, "ScaleUpLimit")
            return Decision(self.maximum, stabilized, "TooManyReplicas")
        return Decision(stable, stabilized)

    def _up_limit(self, now: float, current: int, rules: ScalingRules) -> int:
        if rules.select_policy == "Disabled":
            return current
        limits = []
        for policy in rules.policies:
            start = self._at_start(now, current, policy.period_seconds)
            if policy.type == "Pods":
                limits.append(start + policy.value)
            else:  # rounded up, so that one pod can become two
                limits.append(math.ceil(start * (1 + policy.value / 100)))
        return min(limits) if rules.select_policy == "Min" else max(limits)

    def _down_limit(self, now: float, current: int, rules: ScalingRules) -> int:
        if rules.select_policy == "Disabled":
            return current
        limits = []
        for policy in rules.policies:
            start = self._at_start(now, current, policy.period_seconds)
            if policy.type == "Pods":
                limits.append(start - policy.value)
            else:
                limits.append(int(start * (1 - policy.value / 100)))
        return max(limits) if rules.select_policy == "Min" else min(limits)

    def _at_start(self, now: float, current: int, period_seconds: int) -> int:
        """The replicas that there were a period ago, as far as the changes of scale tell."""
        since = now - period_seconds
        added = sum(change.replicas for change in self._ups if change.time > since)
        removed = sum(change.replicas for change in self._downs if change.time > since)
        return current - added + removed


@dataclass(slots=True)
class _Change:
    time: float
    replicas: int


def _store(changes: list[_Change], policies: Sequence[Policy], now: float, replicas: int) -> None:
    """Add a change in the place of one that no policy of its direction counts any more.

    The controller replaces one per change, and the other direction's longer policies may still have counted it.
    """
    oldest = now - max(policy.period_seconds for policy in policies)
    place = next((i for i in reversed(range(len(changes))) if changes[i].time < oldest), None)
    if place is None:
        changes.append(_Change(now, replicas))
    else:
        changes[place] = _Change(now, replicas)


@dataclass(slots=True)
class _Window:
    """The highest (`sign` 1) or lowest (-1) recommendation of the last `seconds`; `closed`: of exactly that age too."""

    seconds: float
    sign: int
    closed: bool = False
    _kept: deque[tuple[float, int]] = field(default_factory=deque)  # from the extreme on, ever less extreme

    def add(self, now: float, value: int) -> None:
        while self._kept and self._kept[-1][1] * self.sign <= value * self.sign:
            self._kept.pop()
        self._kept.append((now, value))

    def extreme(self, now: float, default: int) -> int:
        since = now - self.seconds
        while self._kept and (self._kept[0][0] < since or (self._kept[0][0] == since and not self.closed)):
            self._kept.popleft()
        return self._kept[0][1] if self._kept else default
