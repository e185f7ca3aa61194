"""A simulation's Outcome as text for people and as plain data for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudpulse.durations import format_duration
from cloudpulse.hpa import Behavior, ScalingRules
from forecaster.outcome import aligned, known, moment, number
from forecaster.prices import SPARE_SHARE, Prices, best
from forecaster.simulation import FLAP_SECONDS, Choice, Course, Figures, Outcome, Setup

LEGEND = f"""\
Short: minutes in which the load was above what the ready pods serve. Unserved: share of the load that was. Pod-hours:
of all pods, ready or not yet. Flaps: changes against the one before within {format_duration(FLAP_SECONDS)}. Reactive
scaling follows what is measured, predictive the larger of that and the forecast, as it was made by then."""


def text(outcome: Outcome, prices: Prices) -> str:
    """A heading, a table with the best marked by *, and what it gains in a sentence."""
    chosen = best(outcome, prices)
    head = ["", "scaling", "horizon", "level", "short minutes", "unserved", "pod-hours", "scalings", "flaps"]
    courses = (outcome.reactive, *outcome.predictive)
    rows = [head + (["cost"] if prices else [])]
    rows += [_row(outcome, course, prices, course is chosen) for course in courses]
    return "\n".join([*heading(outcome), *aligned(rows), f"  {verdict(outcome, prices)}", "", LEGEND])


def data(outcome: Outcome, prices: Prices) -> dict[str, Any]:
    """The same and more; what is unknown is None."""
    chosen, setup = best(outcome, prices), outcome.setup
    return {
        "start": moment(outcome.start),
        "end": moment(outcome.end),
        "step_seconds": float(outcome.load.step),
        "hpa": {
            "min_replicas": setup.minimum,
            "max_replicas": setup.maximum,
            "average_value": setup.average / 1000,
            "behavior": _behavior(setup.behavior),
        },
        "pod_capacity": setup.pod_capacity,
        "target": setup.target,
        "ready_seconds": float(setup.ready_seconds),
        "sync_seconds": float(setup.sync_seconds),
        "lag_seconds": float(setup.lag_seconds),
        "flap_seconds": FLAP_SECONDS,
        "reactive": _course(outcome, outcome.reactive, prices, chosen),
        "predictive": [_course(outcome, one, prices, chosen) for one in outcome.predictive],
    }


def heading(outcome: Outcome) -> Iterator[str]:
    """What was simulated, and what was scaled."""
    setup, hours = outcome.setup, outcome.reactive.figures.hours
    span = f"{moment(outcome.start)} to {moment(outcome.end)}"
    yield f"{number(hours)} h of load, {span}"
    yield f"  {scaled(setup)}"


def scaled(setup: Setup) -> str:
    """Pods and HPA in a line."""
    aimed = f"the HPA aims at {number(setup.average / 1000)} ({setup.target:.0%})"
    pods = f"{setup.minimum} to {setup.maximum} pods, ready after {format_duration(setup.ready_seconds)}"
    behavior = "a behavior of its own" if setup.behavior else "no behavior"
    return f"a pod serves {number(setup.pod_capacity)}, {aimed}; {pods}; {behavior}"


def verdict(outcome: Outcome, prices: Prices) -> str:
    """What the best comes to, in a sentence."""
    chosen, floor = best(outcome, prices), outcome.reactive.figures
    if chosen.choice is None:
        why = (
            "no forecast is cheaper"
            if prices
            else f"no forecast has fewer short minutes at {SPARE_SHARE:.0%} more pods"
        )
        return f"best: reactive; {why}"
    mine = chosen.figures
    pods = change(mine.pod_hours, floor.pod_hours)
    parts = [f"{change(mine.short_minutes, floor.short_minutes)} short minutes", f"{pods} pod-hours"]
    if prices:
        parts.append(f"{change(prices.cost(mine), prices.cost(floor))} cost")
    return f"best (*): {named(outcome, chosen.choice)}: {', '.join(parts)} against reactive"


def named(outcome: Outcome, choice: Choice) -> str:
    """A choice in words."""
    return f"horizon {ahead(outcome, choice)}, level {choice.level:g}"


def ahead(outcome: Outcome, choice: Choice) -> str:
    """A choice's horizon as a duration."""
    return format_duration(choice.steps * outcome.load.step)


def change(mine: float, floor: float) -> str:
    """`mine` against `floor` in percent; a dash where there is nothing to compare with."""
    return f"{mine / floor - 1:+.1%}" if floor > 0 else ("0%" if mine == 0 else "-")


def share(value: float) -> str:
    """A share as a percentage, small ones too."""
    return f"{100 * value:.2g}%"


def _row(outcome: Outcome, course: Course, prices: Prices, marked: bool) -> list[str]:
    figures, floor, choice = course.figures, outcome.reactive.figures, course.choice
    short, pods = number(figures.short_minutes), number(figures.pod_hours)
    if choice is not None:
        short += f" ({change(figures.short_minutes, floor.short_minutes)})"
        pods += f" ({change(figures.pod_hours, floor.pod_hours)})"
    row = ["*" if marked else "", "predictive" if choice else "reactive"]
    row += [ahead(outcome, choice), f"{choice.level:g}"] if choice else ["-", "-"]
    row += [short, share(figures.unserved_share), pods, str(figures.scalings), str(figures.flaps)]
    return row + ([number(prices.cost(figures))] if prices else [])


def _course(outcome: Outcome, course: Course, prices: Prices, chosen: Course) -> dict[str, Any]:
    about: dict[str, Any] = {}
    if course.choice is not None:
        about = {"horizon_seconds": course.choice.steps * outcome.load.step, "level": course.choice.level}
    return about | _figures(course.figures, prices) | {"best": course is chosen}


def _figures(figures: Figures, prices: Prices) -> dict[str, Any]:
    return {
        "hours": figures.hours,
        "short_minutes": figures.short_minutes,
        "unserved": figures.unserved,
        "demand": figures.demand,
        "unserved_share": known(figures.unserved_share),
        "pod_hours": figures.pod_hours,
        "scalings": figures.scalings,
        "flaps": figures.flaps,
        "cost": prices.cost(figures) if prices else None,
    }


def _behavior(behavior: Behavior | None) -> dict[str, Any] | None:
    """In a manifest's words; None where it has none."""
    if behavior is None:
        return None
    return {"scaleUp": _rules(behavior.scale_up), "scaleDown": _rules(behavior.scale_down)}


def _rules(rules: ScalingRules) -> dict[str, Any]:
    return {
        "stabilizationWindowSeconds": rules.stabilization_window_seconds,
        "selectPolicy": rules.select_policy,
        "policies": [
            {"type": one.type, "value": one.value, "periodSeconds": one.period_seconds} for one in rules.policies
        ],
        "tolerance": rules.tolerance,
    }
