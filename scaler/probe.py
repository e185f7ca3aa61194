"""What `cloudpulse check --online` finds out about the rules: what each reads, matches and would answer now."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from cloudpulse import ahead, progress
from cloudpulse.durations import format_duration
from cloudpulse.errors import SourceError
from cloudpulse.findings import Examined, Finding
from cloudpulse.promql import MetricSource
from scaler.config import Rule, ScalerSettings
from scaler.evaluation import Item
from scaler.horizon import ReadyTimes
from scaler.hpa_manifest import manifest
from scaler.refusal import Refused
from scaler.watch import Snapshot, Watch, shown

_SHOWN = 3


def examine(settings: ScalerSettings, source: MetricSource) -> Iterator[Examined]:
    """A Probe: each metric in turn, evaluated once as the scaler would."""
    ready_times = ReadyTimes(source)
    for i, rule in enumerate(settings.metrics):
        with progress.shown(f"asking about {rule.name}"):
            watch = Watch(rule, source, time.time, float(settings.interval), ready_times)
            findings = tuple(_findings(rule, watch))
        yield Examined(f"scaler.metrics[{i}] {rule.name}", findings)


def _findings(rule: Rule, watch: Watch) -> Iterator[Finding]:
    began = time.perf_counter()
    try:
        snapshot = watch.ask()
    except SourceError as error:
        yield Finding("fail", "query", str(error))
        return
    took = f"in {(time.perf_counter() - began) * 1000:.0f} ms"
    if rule.forecast is not None:
        yield from _about_horizon(rule, snapshot)
    yield from _about_query(rule, snapshot, took)
    if rule.forecast is not None:
        yield from _about_forecast(rule, snapshot)
    yield from _about_answer(rule, watch, snapshot)
    what = f"to paste: autoscaling/v2 for {rule.title}; fill in the target, the bounds and what says FILL-IN"
    yield Finding("note", "hpa", what, manifest(rule, snapshot.items))


def _about_horizon(rule: Rule, snapshot: Snapshot) -> Iterator[Finding]:
    choice = snapshot.choice
    if choice.problem:
        yield Finding("fail", "horizon", choice.problem)
        return
    why = "as configured"
    if rule.fixed_horizon is None:
        needed = format_duration(round(choice.lead))
        which = "the farthest there is, short of" if choice.seconds < choice.lead else "the nearest beyond"
        why = f"{which} the {needed} that a new pod takes to be ready and to be asked for"
        if rule.ready is None and not choice.notes:
            why += " (nine in ten of all pods in the cluster)"
    yield Finding("ok", "horizon", f"{choice.horizon}, {why}")
    yield Finding("ok", "level", f"{choice.level}, {_why_level(rule, float(choice.level))}")
    for note in choice.notes:
        yield Finding("warn", "assumed", note)


def _why_level(rule: Rule, level: float) -> str:
    if rule.level is not None:
        return "as configured"
    wanted = rule.cost.level if rule.cost else ahead.DEFAULT_LEVEL
    falls_short = level < wanted - 1e-9
    if rule.cost:
        costs = f"where a unit too little costs {rule.cost.short:g} and one too much {rule.cost.idle:g}"
        return f"{'the highest there is, ' * falls_short}{costs} ({wanted:.3g} costs least)"
    if falls_short:
        return "the highest there is"
    return "the default" if math.isclose(level, wanted) else f"the nearest from {wanted:g} up"


def _about_query(rule: Rule, snapshot: Snapshot, took: str) -> Iterator[Finding]:
    items = snapshot.items
    if not items:
        yield Finding("fail", "query", "answers no series now: try it in Prometheus", snapshot.query + "\n")
        return
    counts = [_count(len(items), "series")]
    if rule.namespace_label:
        namespaces = {item.labels.get(rule.namespace_label, "") for item in items} - {""}
        counts.append(_count(len(namespaces), "namespace"))
        if lost := sum(not item.labels.get(rule.namespace_label) for item in items):
            text = f"{_count(lost, 'series')} carry no label {rule.namespace_label}, and are in no namespace"
            yield Finding("warn", "namespace", text)
    for kind, (_, label) in rule.objects.items():
        if names := {item.labels.get(label, "") for item in items} - {""}:
            counts.append(f"{len(names)} {kind} such as {min(names)}")
        else:
            yield Finding("fail", "objects", f"no series carries the label {label}, which should name {kind}")
    text = f"{', '.join(counts)}, {took}; such as {shown(items[0])}"
    yield Finding("ok", "query", text, snapshot.query + "\n")


def _about_forecast(rule: Rule, snapshot: Snapshot) -> Iterator[Finding]:
    evaluation = snapshot.evaluation
    for note in evaluation.notes:
        yield Finding("warn", "labels", note)
    if evaluation.figures:
        mase = _span([one.mase for one in evaluation.figures])
        coverage = _span([one.coverage for one in evaluation.figures])
        text = (
            f"MASE {mase} (shut above {rule.gate.mase:g}), coverage {coverage} "
            f"(shut below {float(snapshot.choice.level) - rule.gate.coverage:.3g})"
        )
        if evaluation.shut:
            text += f": shut for {evaluation.shut} of {_count(len(evaluation.figures), 'series')}"
        yield Finding("warn" if evaluation.shut else "ok", "gate", text)
    for reason, count in sorted(evaluation.fallbacks.items()):
        text = f"{_count(count, 'series')} served as measured now, the forecast being {_REASONS[reason]}"
        yield Finding("warn", "fallback", text)
    if unmeasured := sum(not item.measured for item in evaluation.ahead):
        text = f"{_count(unmeasured, 'series')} of the forecast not measured now: they only add to sums"
        yield Finding("note", "measured", text)


_REASONS = {
    "missing": "missing",
    "stale": "older than max_age",
    "invalid": "no usable number",
    "accuracy": "worse than its gate allows by its MASE",
    "coverage": "worse than its gate allows by its coverage",
}


def _about_answer(rule: Rule, watch: Watch, snapshot: Snapshot) -> Iterator[Finding]:
    if rule.mode == "shadow":
        yield Finding("note", "shadow", f"served as measured now; would be {_values(snapshot.evaluation.ahead)}")
    if not snapshot.items:
        return
    try:
        watch.trusted(snapshot, snapshot.items, "")
    except Refused as refused:
        yield Finding("fail", "answer", refused.message)
        return
    ages = [time.time() - item.time for item in snapshot.items]
    counts = {source: sum(item.source == source for item in snapshot.items) for source in ("forecast", "reactive")}
    made = ", ".join(f"{count} by {source}" for source, count in counts.items() if count) or "by the query"
    text = f"{_values(snapshot.items)}; {made}; the oldest {format_duration(round(max(ages)))} old"
    yield Finding("ok", "answer", text)


def _values(items: Sequence[Item]) -> str:
    usable = [item for item in items if not item.problem]
    listed = ", ".join(f"{item.quantity} {shown(item)}" for item in usable[:_SHOWN])
    more = f" and {len(usable) - _SHOWN} more" if len(usable) > _SHOWN else ""
    return f"{listed}{more}"


def _span(figures: Sequence[float]) -> str:
    known = [figure for figure in figures if not math.isnan(figure)]
    if not known:
        return "not known yet"
    low, high = min(known), max(known)
    return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 or what == 'series' else 's'}"
