"""The HorizontalPodAutoscaler that scales on a rule, as YAML to paste.

Only what can't be known is left to fill in: the target, the bounds, and the workload where the rule doesn't name it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from scaler.config import Rule
from scaler.evaluation import Item
from scaler.resources import Resource

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
"""What a selector may ask for (apimachinery `pkg/util/validation`): no `:` and no `/`, so no host:port."""

_SCALABLE = ("deployments.apps", "statefulsets.apps", "replicasets.apps")
_FILL_IN = "FILL-IN"


def manifest(rule: Rule, items: Sequence[Item]) -> str:
    """For the first of `items`, which are the rule's; without any the names of objects are to be filled in too."""
    first = items[0].labels if items else {}
    kind, name = _object(rule, first)
    namespace = first.get(rule.namespace_label, _FILL_IN) if rule.namespace_label else "default"
    own = kind if kind is not None and kind.name in _SCALABLE else None
    target = (own.api_version, own.kind, name) if own else ("apps/v1", "Deployment", _FILL_IN)
    lines = [
        "apiVersion: autoscaling/v2",
        "kind: HorizontalPodAutoscaler",
        "metadata:",
        f"  name: {_text(_dns(target[2] if own else rule.name))}",
        f"  namespace: {_text(namespace)}",
        "spec:",
        "  scaleTargetRef:",
        f"    apiVersion: {target[0]}",
        f"    kind: {target[1]}",
        f"    name: {_text(target[2])}",
        "  minReplicas: 1  # the bounds are yours",
        "  maxReplicas: 10",
        "  metrics:",
        *(f"    {line}" for line in _metric(rule, items, kind, name)),
    ]
    return "\n".join(lines) + "\n"


def _metric(rule: Rule, items: Sequence[Item], kind: Resource | None, name: str) -> list[str]:
    identity = ["  metric:", f"    name: {_text(rule.name)}", *_selector(rule, items, kind)]
    if rule.api == "external":
        return ["- type: External", "  external:", *_deeper(identity), *_deeper(_AVERAGE)]
    assert kind is not None
    if kind.kind == "Pod":
        return ["- type: Pods", "  pods:", *_deeper(identity), *_deeper(_AVERAGE)]
    described = [
        "  describedObject:",
        f"    apiVersion: {kind.api_version}",
        f"    kind: {kind.kind}",
        f"    name: {_text(name)}",
    ]
    return ["- type: Object", "  object:", *_deeper(described), *_deeper(identity), *_deeper(_AVERAGE)]


_AVERAGE = ["  target:", "    type: AverageValue", '    averageValue: "100"  # what one pod can take']


def _deeper(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _selector(rule: Rule, items: Sequence[Item], kind: Resource | None) -> list[str]:
    """Picks the first item's series among those that would be added up, or told apart from, with it."""
    if not items:
        return []
    named = {label for _, label in rule.objects.values()} | {rule.namespace_label}
    first = items[0]
    if kind is not None and kind.kind == "Pod":
        return []
    beside = [item for item in items if all(item.labels.get(n) == first.labels.get(n) for n in named if n)]
    chosen = _telling(first.labels, [item.labels for item in beside], named)
    if not chosen:
        return []
    labels = ", ".join(f"{_text(name)}: {_text(value)}" for name, value in chosen.items())
    comment = f"one of {len(beside)} series" + ("; without it they are added up" if rule.api == "external" else "")
    return ["    selector:", f"      matchLabels: {{{labels}}}  # {comment}"]


def _telling(labels: Mapping[str, str], beside: Sequence[Mapping[str, str]], named: set[str | None]) -> dict[str, str]:
    """The labels by which a series differs from those beside it, as far as a selector can ask for them."""
    return {
        name: value
        for name, value in sorted(labels.items())
        if name not in named and _LABEL_VALUE.fullmatch(value) and any(other.get(name) != value for other in beside)
    }


def _object(rule: Rule, labels: Mapping[str, str]) -> tuple[Resource | None, str]:
    """What the metric describes: a workload if the rule names one, pods only if there is nothing else."""
    objects = rule.objects
    if not objects:
        return None, _FILL_IN
    best = next((kind for kind in _SCALABLE if kind in objects), "")
    best = best or next((kind for kind in objects if kind != "pods"), "pods")
    kind, label = objects[best]
    return kind, labels.get(label, _FILL_IN)


def _dns(name: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.") or "cloudpulse"


def _text(text: str) -> str:
    """A YAML scalar: plain where that is surely a text, else in quotes, which JSON's are."""
    return text if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) and text.lower() not in _WORDS else json.dumps(text)


_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
