"""Answers what a metric is now, from memory, or refuses with the reason.

Rules are evaluated in the background, one query per rule and interval for all namespaces. With Prometheus away the
last answer is given until it is older than the rule's `max_age`.

It knows nothing of HTTP: other ways to ask (KEDA, Docker) give out the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scaler.config import Rule
from scaler.evaluation import Item
from scaler.objects import CarriedLabels, Objects
from scaler.quantity import LARGEST
from scaler.refusal import bad_request, not_found, unavailable
from scaler.resources import NAMESPACE, Resource
from scaler.selector import EVERYTHING, Selector
from scaler.watch import Watch

ALL = "*"
"""The name that stands for every object of a kind."""


@dataclass(frozen=True)
class Answer:
    """What can be served: at least one item, each with a quantity, none older than the rule's `max_age`.

    `objects` names the object that each item describes; `kind` is what they are, None for an external metric.
    """

    rule: Rule
    items: Sequence[Item]
    objects: Sequence[str] = ()
    kind: Resource | None = None

    @property
    def total(self) -> float:
        """The sum over the items."""
        return sum(item.value for item in self.items)

    @property
    def oldest(self) -> float:
        """Unix time of the oldest sample."""
        return min(item.time for item in self.items)

    @property
    def source(self) -> str:
        """Where the values are from, for audits: `query`, `forecast:web_rps`, `reactive`, or both with a + between."""
        sources = sorted({item.source for item in self.items})
        return "+".join(f"forecast:{self.rule.forecast}" if source == "forecast" else source for source in sources)


class Provider:
    """Answers for the rules under `watches`. Any number of threads may ask."""

    def __init__(self, watches: Sequence[Watch], objects: Objects | None = None) -> None:
        self._watches = watches
        self._objects = objects or CarriedLabels()
        self._external = {watch.rule.name.lower(): watch for watch in watches if watch.rule.api == "external"}
        self._custom = {(watch.rule.name, kind): watch for watch in watches for kind in watch.rule.objects}

    def external(self, metric: str, namespace: str, series: Selector = EVERYTHING) -> Answer:
        """The series of an external metric in `namespace`; the name's case does not matter. Raises Refused."""
        watch = self.external_watch(metric)
        rule, snapshot = watch.rule, watch.snapshot()
        place = ("", namespace if rule.namespace_label else None)
        items = [item for item in snapshot.places.get(place, {}).get("", ()) if series.matches(item.labels)]
        what = _in(namespace if rule.namespace_label else None) + _with(series)
        watch.trusted(snapshot, items, what)
        answer = Answer(rule, items)
        _check_sum(answer, what)
        return answer

    def custom(
        self,
        metric: str,
        kind: str,
        namespace: str | None,
        name: str,
        *,
        objects: Selector = EVERYTHING,
        series: Selector = EVERYTHING,
    ) -> Answer:
        """One item for each object: `name` of `kind` (as in a path: `deployments.apps`), or `ALL`. Raises Refused.

        `objects` selects by the objects' own labels, as `Objects` knows them.
        """
        watch = self._custom.get((metric, kind))
        if watch is None:
            raise not_found(f'there is no custom metric "{metric}" for {kind}: scaler.metrics has no such rule')
        rule, snapshot = watch.rule, watch.snapshot()
        if (namespace is None) is not (rule.namespace_label is None or kind == NAMESPACE.name):
            raise not_found(f"{rule.title}: {kind} {'belong to a' if namespace is None else 'belong to no'} namespace")
        resource = rule.objects[kind][0]
        chosen = self._objects.chosen(rule, snapshot, resource, namespace, objects)
        named = snapshot.places.get((kind, namespace), {})
        found = [
            (owner, item)
            for owner, items in (named.items() if name == ALL else [(name, named.get(name, ()))])
            for item in items
            if series.matches(item.labels) and chosen(owner, item)
        ]
        what = f" for {kind}{'' if name == ALL else f' {name}'}{_in(namespace)}{_with(objects)}{_with(series)}"
        items, owners = [item for _, item in found], [owner for owner, _ in found]
        watch.trusted(snapshot, items, what)
        if len(set(owners)) != len(owners):
            raise bad_request(
                f"{rule.title}{what}: several series describe the same object, and adding them up may be wrong: "
                "aggregate in the rule's query, or select one with metricLabelSelector"
            )
        answer = Answer(rule, items, owners, resource)
        _check_sum(answer, what)
        return answer

    def external_watch(self, metric: str) -> Watch:
        """The rule behind an external metric, under watch; raises Refused where there is none."""
        watch = self._external.get(metric.lower())
        if watch is not None:
            return watch
        if any(name == metric for name, _ in self._custom):
            raise not_found(f'"{metric}" is a custom metric, of objects: asked for like this, it needs api: external')
        raise not_found(f'there is no external metric "{metric}": scaler.metrics has no such rule')

    def name_of(self, metric: str, kind: str) -> str:
        """The name of the rule behind a metric (`kind` "" for an external one), "" if there is none."""
        watch = self._custom.get((metric, kind)) if kind else self._external.get(metric.lower())
        return watch.rule.name if watch else ""

    def problems(self) -> list[str]:
        """What is wrong with the rules that have no value to serve now."""
        return [problem for watch in self._watches if (problem := watch.problem())]


def _check_sum(answer: Answer, what: str) -> None:
    """The HPA adds up what it gets, external series and the values of pods alike."""
    if abs(answer.total) > LARGEST:
        raise unavailable(f"{answer.rule.title}{what}: the sum {answer.total:g} is beyond 2^53, too large for the HPA")


def _in(namespace: str | None) -> str:
    return "" if namespace is None else f" in namespace {namespace}"


def _with(chosen: Selector) -> str:
    return f" with {chosen}" if chosen.requirements else ""
