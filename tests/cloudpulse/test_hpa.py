"""The HPA's decision: cases worked out by hand from Kubernetes' documentation and source, and what always holds."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudpulse.hpa import DEFAULT_DOWN, DEFAULT_UP, Autoscaler, Behavior, Decision, Policy, ScalingRules

# The sections of https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ are named as "docs: ...",
# those of https://github.com/kubernetes/enhancements/tree/master/keps/sig-autoscaling/853-configurable-hpa-scale-velocity
# as "KEP-853: ...".


def rules(*policies: Policy, window: int = 0, select: str = "Max") -> ScalingRules:
    return ScalingRules(window, policies, select)  # type: ignore[arg-type]  # a Select, shorter to write as text


def path(autoscaler: Autoscaler, start: int, wanted: list[int | None], every: float = 15) -> list[int]:
    """Replicas after each sync, each change being made at once."""
    current, replicas = start, []
    for i, recommendation in enumerate(wanted):
        decision = autoscaler.decide(i * every, current, recommendation)
        autoscaler.changed(i * every, current, decision.replicas)
        current = decision.replicas
        replicas.append(current)
    return replicas


def test_default_behaviour_doubles_or_adds_four_every_fifteen_seconds() -> None:
    """docs: Default behavior ("4 pods or 100% of the currently running replicas every 15 seconds")."""
    assert path(Autoscaler(1, 100, Behavior()), 1, [100] * 6) == [5, 10, 20, 40, 80, 100]


def test_default_behaviour_lets_everything_go_after_five_minutes() -> None:
    """docs: Default behavior (scale down: 300 s window, 100 % of the replicas may be removed).

    The replicas that there were at the first sync are the first recommendation, and hold for the window.
    """
    replicas = path(Autoscaler(1, 100, Behavior()), 80, [2] * 22)
    assert replicas == [80] * 20 + [2] * 2


def test_the_older_rule_without_behavior_doubles_or_makes_four() -> None:
    """horizontal.go: calculateScaleUpLimit, max(2 * current, 4)."""
    assert path(Autoscaler(1, 100), 1, [100] * 6) == [4, 8, 16, 32, 64, 100]


def test_the_older_rule_without_behavior_keeps_a_recommendation_of_exactly_the_window() -> None:
    """horizontal.go: stabilizeRecommendation drops what is `Before(cutoff)`, the other what isn't `After`."""
    assert path(Autoscaler(1, 100), 80, [2] * 22) == [80] * 21 + [2]


def test_two_down_policies_the_larger_change_wins() -> None:
    """docs: Scaling policies: 4 pods or 10 % a minute: "If there are 80 replicas ... 8 replicas will be reduced"

    "... when the number of replicas falls to 40 or less 4 pods will be removed".
    """
    down = rules(Policy("Pods", 4, 60), Policy("Percent", 10, 60))
    autoscaler = Autoscaler(1, 100, Behavior(DEFAULT_UP, down))
    # 80 -> 72 (8), 71.. : int(72 * 0.9) = 64, int(64 * 0.9) = 57, 51, 45, 40, then 4 a minute
    expected = [80 - 8, 64, 57, 51, 45, 40, 36, 32]
    assert path(autoscaler, 80, [10] * 8, every=60) == expected


def test_min_selects_the_smallest_change_in_both_directions() -> None:
    """docs: Scaling policies ("selectPolicy: Min")."""
    down = rules(Policy("Pods", 5, 60), Policy("Percent", 10, 60), select="Min")
    assert path(Autoscaler(1, 100, Behavior(DEFAULT_UP, down)), 100, [1] * 3, every=60) == [95, 90, 85]
    up = rules(Policy("Pods", 5, 60), Policy("Percent", 10, 60), select="Min")
    assert path(Autoscaler(1, 100, Behavior(up, DEFAULT_DOWN)), 20, [90] * 3, every=60) == [22, 25, 28]


def test_disabled_forbids_a_direction() -> None:
    """docs: Disable scale-down."""
    down = rules(Policy("Percent", 100, 15), select="Disabled")
    assert path(Autoscaler(1, 9, Behavior(DEFAULT_UP, down)), 5, [1, 9, 1]) == [5, 9, 9]


def test_policies_count_over_their_period_not_per_sync() -> None:
    """KEP-853: Algorithm: at most 4 pods within any 60 s, though the controller comes by every 15 s."""
    up = rules(Policy("Pods", 4, 60))
    assert path(Autoscaler(1, 100, Behavior(up)), 2, [50] * 9) == [6, 6, 6, 6, 10, 10, 10, 10, 14]


def test_removed_pods_may_come_back_within_the_period() -> None:
    """horizontal.go: calculateScaleUpLimitWithScalingRules starts from the replicas at the period's start."""
    up, down = rules(Policy("Pods", 2, 60)), rules(Policy("Percent", 100, 15))
    # 10 -> 3; at the period's start there were 10, so that 12 are allowed again.
    assert path(Autoscaler(1, 100, Behavior(up, down)), 10, [3, 50], every=15) == [3, 12]


def test_a_percent_of_one_pod_is_still_a_pod_up() -> None:
    """horizontal.go: the proposal of a percentage is rounded up, "causing the target to never scale up" otherwise."""
    up = rules(Policy("Percent", 10, 15))
    assert path(Autoscaler(1, 100, Behavior(up)), 1, [50] * 3) == [2, 3, 4]


def test_a_window_up_follows_the_lowest_recent_recommendation() -> None:
    """docs: Stabilization window, applied to scaleUp; KEP-853: "gather recommendations ... pick the smallest"."""
    up = ScalingRules(60, DEFAULT_UP.policies)
    autoscaler = Autoscaler(1, 100, Behavior(up))
    assert path(autoscaler, 2, [4, 3, 4, 4, 4, 4, 4]) == [2, 2, 2, 2, 3, 4, 4]


def test_a_window_down_follows_the_highest_recent_recommendation() -> None:
    """docs: Stabilization window: "the highest recommendation of the window is used"."""
    down = rules(Policy("Percent", 100, 15), window=45)
    autoscaler = Autoscaler(1, 100, Behavior(DEFAULT_UP, down))
    assert path(autoscaler, 8, [8, 6, 7, 5, 4, 4, 4, 4]) == [8, 8, 8, 7, 7, 5, 4, 4]


def test_metrics_that_fail_leave_the_replicas_and_are_no_recommendation() -> None:
    """horizontal.go: reconcileAutoscaler returns before it normalises anything."""
    assert path(Autoscaler(1, 9, Behavior(DEFAULT_UP, rules(Policy("Pods", 9, 15)))), 5, [None, 3, None]) == [5, 3, 3]
    assert Autoscaler(1, 9).decide(0, 5, None) == Decision(5, inactive="FailedGetMetric")


def test_zero_replicas_disable_scaling_unless_the_minimum_is_zero() -> None:
    """docs: Implicit maintenance-mode deactivation."""
    assert Autoscaler(1, 9).decide(0, 0, 5) == Decision(0, inactive="ScalingDisabled")
    assert Autoscaler(0, 9).decide(0, 0, 3) == Decision(3)


def test_replicas_outside_the_bounds_are_brought_inside_at_once() -> None:
    """horizontal.go: before any metric or policy."""
    slow = Behavior(rules(Policy("Pods", 1, 60)), rules(Policy("Pods", 1, 60)))
    assert Autoscaler(3, 9, slow).decide(0, 20, None).replicas == 9
    assert Autoscaler(3, 9, slow).decide(0, 1, None).replicas == 3


def test_a_decision_says_what_held_it() -> None:
    autoscaler = Autoscaler(2, 10, Behavior())
    assert autoscaler.decide(0, 4, 20) == Decision(8, limited="ScaleUpLimit")
    assert Autoscaler(2, 6, Behavior()).decide(0, 4, 20) == Decision(6, limited="TooManyReplicas")
    held = autoscaler.decide(15, 8, 1)
    assert held == Decision(8, stabilized="ScaleDownStabilized")
    assert "recent recommendation was higher" in held.reason
    instant = Behavior(DEFAULT_UP, rules(Policy("Pods", 1, 15)))
    assert Autoscaler(2, 10, instant).decide(0, 8, 1) == Decision(7, limited="ScaleDownLimit")
    assert Autoscaler(7, 10, instant).decide(0, 8, 1) == Decision(7, limited="TooFewReplicas")


UP, DOWN = [(0, 1), (40, 5), (80, 9)], [(0, -2), (40, -4), (80, -6)]
"""Changes of scale in the last two minutes, seen from second 100."""


@pytest.mark.parametrize(
    ("current", "wanted", "changes", "policy", "expected"),
    [
        (100, 500, UP, Policy("Pods", 150, 120), 100 - 15 + 150),
        (100, 500, UP, Policy("Percent", 200, 120), (100 - 15) * 3),
        (100, 500, UP, Policy("Pods", 5, 120), 100),  # 90 would be allowed; growing is never shrinking
        (100, 500, UP, Policy("Pods", 150, 61), 100 - 14 + 150),
        (100, 500, UP, Policy("Pods", 150, 60), 100 - 9 + 150),  # what is exactly a period old counts no more
        (6, 24, [(0, 4), (1, -2)], Policy("Percent", 300, 300), (6 - 4 + 2) * 4),
        (100, 1, DOWN, Policy("Percent", 50, 120), (100 + 12) // 2),
        (100, 1, DOWN, Policy("Pods", 5, 120), 100),  # 107 would be the least; shrinking is never growing
        (100, 1, DOWN, Policy("Pods", 30, 120), 100 + 12 - 30),
        (10, 1, [(0, 2), (1, -4)], Policy("Percent", 50, 180), (10 - 2 + 4) // 2),
        (10, 5, [(0, -30)], Policy("Percent", 1000, 120), 5),
    ],
)
def test_a_policy_starts_from_the_replicas_a_period_ago(
    current: int, wanted: int, changes: list[tuple[int, int]], policy: Policy, expected: int
) -> None:
    """horizontal.go: getReplicasChangePerPeriod, and the limits made of it; the cases of its TestScalingWithRules."""
    autoscaler = Autoscaler(1, 1000, Behavior(rules(policy), rules(policy)))
    for when, change in changes:
        autoscaler.changed(when, 500, 500 + change)
    assert autoscaler.decide(100, current, wanted).replicas == expected


def test_a_change_that_was_not_made_is_not_counted() -> None:
    """horizontal.go: storeScaleEvent comes after the scale was updated."""
    autoscaler = Autoscaler(1, 100, Behavior(rules(Policy("Pods", 2, 60))))
    assert autoscaler.decide(0, 4, 50).replicas == 6
    assert autoscaler.decide(15, 4, 50).replicas == 6
    autoscaler.changed(15, 4, 6)
    assert autoscaler.decide(30, 6, 50).replicas == 6


@pytest.mark.parametrize(("minimum", "maximum"), [(-1, 3), (0, 0), (4, 3)])
def test_impossible_bounds_are_refused(minimum: int, maximum: int) -> None:
    with pytest.raises(ValueError, match="0 <= minimum <= maximum"):
        Autoscaler(minimum, maximum)


a_policy = st.builds(Policy, st.sampled_from(["Pods", "Percent"]), st.integers(1, 200), st.integers(1, 120))
some_rules = st.builds(
    ScalingRules,
    st.integers(0, 200),
    st.lists(a_policy, min_size=1, max_size=3).map(tuple),
    st.sampled_from(["Max", "Min", "Disabled"]),
)
some_behavior = st.none() | st.builds(Behavior, some_rules, some_rules)
some_load = st.lists(st.none() | st.integers(-5, 60), min_size=1, max_size=60)


@given(some_behavior, some_load, st.integers(1, 20), st.integers(0, 20), st.integers(1, 40))
def test_replicas_stay_within_minimum_and_maximum(
    behavior: Behavior | None, load: list[int | None], minimum: int, more: int, start: int
) -> None:
    assert all(minimum <= n <= minimum + more for n in path(Autoscaler(minimum, minimum + more, behavior), start, load))


@given(some_behavior, some_load, st.integers(1, 40))
def test_a_stabilised_decision_lies_within_what_was_recommended_or_there(
    behavior: Behavior | None, load: list[int | None], start: int
) -> None:
    """Of everything ever recommended and the replicas at that time nothing higher or lower can come out."""
    seen = [start]
    for recommendation, replicas in zip(load, path(Autoscaler(1, 100, behavior), start, load), strict=True):
        seen.append(max(recommendation, 1) if recommendation is not None else seen[-1])
        assert min(seen) <= replicas <= max(seen)
        seen.append(replicas)


@given(a_policy, some_load, st.integers(1, 40))
def test_growth_within_a_period_is_never_more_than_the_policy_allows(
    policy: Policy, load: list[int | None], start: int
) -> None:
    down = rules(policy, select="Disabled")
    replicas = [start, *path(Autoscaler(1, 1000, Behavior(rules(policy), down)), start, load)]
    syncs = -(-policy.period_seconds // 15)
    for i, before in enumerate(replicas):
        percent = math.ceil(before * (1 + policy.value / 100))
        allowed = before + policy.value if policy.type == "Pods" else percent
        assert max(replicas[i : i + syncs + 1]) <= allowed


@given(a_policy, some_load, st.integers(1, 40))
def test_shrinking_within_a_period_is_never_more_than_the_policy_allows(
    policy: Policy, load: list[int | None], start: int
) -> None:
    up = rules(policy, select="Disabled")
    replicas = [start, *path(Autoscaler(1, 1000, Behavior(up, rules(policy))), start, load)]
    syncs = -(-policy.period_seconds // 15)
    for i, before in enumerate(replicas):
        left = before - policy.value if policy.type == "Pods" else int(before * (1 - policy.value / 100))
        assert min(replicas[i : i + syncs + 1]) >= min(before, max(left, 1))


@given(some_rules, some_rules, st.lists(st.tuples(st.integers(1, 90), st.integers(0, 60)), min_size=1, max_size=60))
def test_windows_hold_exactly_the_recommendations_that_the_controller_looks_at(
    up: ScalingRules, down: ScalingRules, load: list[tuple[int, int]]
) -> None:
    """Against the plain rule of stabilizeRecommendationWithBehaviors, at uneven times."""
    free = (Policy("Pods", 1000, 1),)
    up, down = replace(up, policies=free, select_policy="Max"), replace(down, policies=free, select_policy="Max")
    autoscaler, now, current = Autoscaler(0, 100, Behavior(up, down)), 0.0, 30
    remembered = [(float(load[0][0]), current)]
    for wait, wanted in load:
        now += wait
        lowest = min([wanted, *(v for t, v in remembered if t > now - up.stabilization_window_seconds)])
        highest = max([wanted, *(v for t, v in remembered if t > now - down.stabilization_window_seconds)])
        remembered.append((now, wanted))
        expected = min(max(current, lowest), highest)
        current = autoscaler.decide(now, current, wanted).replicas
        assert current == expected
