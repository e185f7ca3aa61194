"""What a rule serves, made of what is measured now and of a forecast.

The law is *do no harm*: with `floor: reactive` an answer is never less than the measured values would give, and there
is none where they would give none. So, series by series:

- both are known: the larger. A forecast is as old as the older of the two, since either could end it; what is measured
  is as old as it is;
- the forecast is missing, stale before the next evaluation, no usable number, or its gate is shut: what is measured
  now, and the reason counts;
- what is measured is no usable number: nothing, which refuses every answer that the series is part of;
- there is only a forecast: it may stand for a series that is missing from a sum (its source may be gone for a moment,
  or for good), but never for a series that is asked for, an object or a sum by itself. In each namespace no more are
  missing than are forecast beyond those that are measured: where pods are replaced, the new ones have no forecast
  yet, the old ones have one still, and both would count the same load twice. The highest are taken.

With `floor: none` the forecast is served wherever it can be used, and what is measured now where it can't.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from cloudpulse.promql import Labels, Sample
from cloudpulse.yielding import with_rests
from scaler.config import Rule
from scaler.gate import Figures, Gate
from scaler.horizon import Choice
from scaler.matching import ByLabels
from scaler.quantity import LARGEST, quantity
from scaler.question import Parts, is_plain


class Item(msgspec.Struct, frozen=True, gc=False):
    """One series as it would be answered: `time` is the sample's own, Unix seconds, NaN when it isn't known.

    `problem` says why there is no quantity, in words that follow "the value of …". `measured` is False for a forecast
    whose series isn't measured now. `labels` are those of what is measured, else those of the forecast.
    """

    labels: Labels
    value: float
    time: float
    quantity: str
    problem: str = ""
    measured: bool = True
    source: str = "query"


@dataclass(frozen=True)
class Evaluation:
    """A rule's items, and what became of its forecast.

    `ahead` are the items that a rule in shadow mode would serve, else `items`. `fallbacks` counts series by reason.
    The sums are over all series, NaN where there is none. `figures` has one entry for each series of the forecast,
    whose gate is shut in `shut` of them. `notes` are for people.
    """

    items: tuple[Item, ...] = ()
    ahead: tuple[Item, ...] = ()
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    measured: float = math.nan
    forecast: float = math.nan
    figures: tuple[Figures, ...] = ()
    shut: int = 0
    notes: tuple[str, ...] = ()


class _Reading(msgspec.Struct, frozen=True, gc=False):
    """A value and when it was taken, or why it can't be used (`stale`, `invalid`, `accuracy`, `coverage`)."""

    labels: Labels
    value: float
    time: float
    fault: str = ""


def evaluate(rule: Rule, parts: Parts, choice: Choice, gate: Gate, now: float, until: float) -> Evaluation:
    """The evaluation of `rule` at Unix time `now`, of the answer to its question; it serves `until` the next.

    A forecast that gets older than `max_age` on the way is stale already: else it would refuse what is measured.
    """
    measured = _measured(rule, parts, now)
    if rule.forecast is None:
        plain = tuple(_item(rule, one, "query") for one in measured)
        return Evaluation(plain, plain, measured=_sum(measured))
    forecasts, figures, shut = _forecasts(rule, parts, choice, gate, now, until)
    matched = _matched(rule, measured, forecasts)
    fallbacks: Counter[str] = Counter()
    ahead = [_combined(rule, one, found, fallbacks) for one, found in with_rests(matched.pairs)]
    ahead += [_item(rule, one, "forecast", measured=False) for one in _missing(rule, matched)]
    served = [_item(rule, one, "reactive") for one in measured] if rule.mode == "shadow" else ahead
    return Evaluation(
        items=tuple(served),
        ahead=tuple(ahead),
        fallbacks=fallbacks,
        measured=_sum(measured),
        forecast=_sum(forecasts),
        figures=tuple(figures),
        shut=shut,
        notes=matched.notes,
    )


def _measured(rule: Rule, parts: Parts, now: float) -> list[_Reading]:
    if rule.measured is None or not is_plain(rule.measured):
        return [_Reading(one.labels, one.value, now) for one in parts.measured]
    sampled = _by_labels(parts.sampled)
    return [_Reading(one.labels, one.value, _or_nan(sampled.of(one.labels))) for one in parts.measured]


def _forecasts(
    rule: Rule, parts: Parts, choice: Choice, gate: Gate, now: float, until: float
) -> tuple[list[_Reading], list[Figures], int]:
    made, mase, coverage = _by_labels(parts.made), _by_labels(parts.mase), _by_labels(parts.coverage)
    # A forecast's own labels may hide those of its scrape, so that no time fits; then the oldest is taken.
    oldest = min((one.value for one in parts.made), default=math.nan)
    level = float(choice.level) if choice.level else math.nan
    readings, known, count = [], [], 0
    for one in with_rests(parts.forecast):
        found = made.of(one.labels)
        time = oldest if found is None else found
        figures = Figures(_or_nan(mase.of(one.labels)), _or_nan(coverage.of(one.labels)))
        shut = gate.shut(frozenset(one.labels.items()), figures, level, now)
        readings.append(_Reading(one.labels, one.value, time, _fault(rule, one.value, time, now, until) or shut))
        count += bool(shut)
        known.append(figures)
    gate.forget(now)
    return readings, known, count


def _fault(rule: Rule, value: float, time: float, now: float, until: float) -> str:
    if not (until - time <= rule.max_age and time - now <= rule.max_age):
        return "stale"
    return "invalid" if _problem(rule, value) else ""


@dataclass(frozen=True)
class _Matched:
    """Each measured series with its forecasts, several where several forecasters make them; forecasts without one."""

    pairs: list[tuple[_Reading, list[_Reading]]]
    alone: list[_Reading]
    notes: tuple[str, ...] = ()


def _matched(rule: Rule, measured: list[_Reading], forecasts: list[_Reading]) -> _Matched:
    index = ByLabels(((one.labels, i) for i, one in enumerate(measured)), min)
    found: list[list[_Reading]] = [[] for _ in measured]
    alone = []
    for one in with_rests(forecasts):
        source = _as_at_source(one.labels)
        i = index.of(source)
        if i is None and (hidden := one.labels.keys() - source.keys()):
            i = index.of(one.labels)  # where the source itself has such labels
            i = i if i is not None and hidden <= measured[i].labels.keys() else None
        if i is None:
            alone.append(one if source is one.labels else msgspec.structs.replace(one, labels={**one.labels, **source}))
        else:
            found[i].append(one)
    pairs = list(zip(measured, found, strict=True))
    if measured and forecasts and len(alone) == len(forecasts):
        # Both at once would count the same load twice.
        return _Matched(pairs, [], (_STRANGERS,)) if rule.needs_measured else _Matched([], alone, (_STRANGERS,))
    return _Matched(pairs, alone, (_SEVERAL,) if any(len(one) > 1 for one in found) else ())


def _missing(rule: Rule, matched: _Matched) -> list[_Reading]:
    """The forecasts alone that stand for series which are missing now; all of them where nothing is measured."""
    alone = [one for one in matched.alone if not (one.fault and rule.needs_measured)]
    if not matched.pairs or not alone:
        return alone
    highest: dict[frozenset[tuple[str, str]], _Reading] = {}
    names = {name for one, _ in matched.pairs for name in one.labels}
    for one in sorted(alone, key=_usefulness):  # of several forecasters' the last, on the same series
        highest[frozenset((name, value) for name, value in one.labels.items() if name in names)] = one
    new = Counter(_namespace(rule, one) for one, found in matched.pairs if not found)
    found = []
    for one in sorted(highest.values(), key=_usefulness):
        place = _namespace(rule, one)
        if new[place] > 0:  # a new series has taken its place
            new[place] -= 1
        else:
            found.append(one)
    return found


def _usefulness(one: _Reading) -> tuple[bool, float]:
    return not one.fault, one.value if math.isfinite(one.value) else -math.inf


def _namespace(rule: Rule, one: _Reading) -> str:
    return one.labels.get(rule.namespace_label, "") if rule.namespace_label else ""


_STRANGERS = (
    "no series of the forecast has the labels of what is measured now: write reactive: with the labels that the "
    "forecast has, and scrape the forecaster with honor_labels: true"
)
_SEVERAL = "several series of the forecast belong to one that is measured: the highest counts"


def _as_at_source(labels: Labels) -> Labels:
    """The labels that a scrape's own ones hide: without `honor_labels`, Prometheus puts `exported_` before them.

    It does so until the name is free; of `job`, `exported_job` and `exported_exported_job`, the last is the `job`.
    """
    hidden = [name for name in labels if name.startswith("exported_")]
    if not hidden:
        return labels
    last = {re.sub("^(exported_)+", "", name): name for name in sorted(hidden, key=len)}
    found = dict(labels)
    found.update({name: found.pop(renamed) for name, renamed in last.items()})
    return found


def _combined(rule: Rule, measured: _Reading, found: list[_Reading], fallbacks: Counter[str]) -> Item:
    usable = [one for one in found if not one.fault]
    if not usable:
        fallbacks[found[0].fault if found else "missing"] += 1
        return _item(rule, measured, "reactive")
    forecast = max(usable, key=lambda one: one.value)
    if rule.floor == "none":
        return _item(rule, _Reading(measured.labels, forecast.value, forecast.time), "forecast")
    if _problem(rule, measured.value):
        return _item(rule, measured, "reactive")
    if forecast.value <= measured.value:
        return _item(rule, measured, "reactive")
    older = min(forecast.time, measured.time) if math.isfinite(measured.time) else math.nan
    return _item(rule, _Reading(measured.labels, forecast.value, older), "forecast")


def _item(rule: Rule, one: _Reading, source: str, *, measured: bool = True) -> Item:
    problem = _problem(rule, one.value)
    if not problem and one.fault in ("accuracy", "coverage"):
        problem = f"the forecast is not good enough to be used by its {one.fault}, and nothing is measured now"
    value = one.value if problem else rule.clamp.apply(one.value)
    return Item(one.labels, value, one.time, "" if problem else quantity(value), problem, measured, source)


def _problem(rule: Rule, value: float) -> str:
    if not abs(value) <= LARGEST:  # judged before a bound could hide it
        try:
            quantity(value)
        except ValueError as error:
            return str(error)
    if rule.api == "external" and rule.clamp.apply(value) < 0:
        # The HPA adds external values up, and takes a negative sum for infinite: it would scale to the maximum.
        return f"{value:g} is negative, and the HPA adds external values up"
    return ""


def _by_labels(samples: list[Sample]) -> ByLabels[float]:
    return ByLabels(((one.labels, one.value) for one in samples), min)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _sum(readings: list[_Reading]) -> float:
    """Of what could be used, were it not for a gate."""
    values = [one.value for one in readings if one.fault not in ("stale", "invalid") and math.isfinite(one.value)]
    return math.fsum(values) if values else math.nan
