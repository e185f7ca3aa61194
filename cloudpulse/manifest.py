"""A HorizontalPodAutoscaler as `autoscaling/v2` writes it, checked as the API server does.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/ and
`pkg/apis/autoscaling/validation/validation.go`. Of the metrics only the target is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from cloudpulse import hpa
from cloudpulse.config import ConfigFile, Section, yaml_reason
from cloudpulse.errors import ConfigError

_MOST_PERIOD_SECONDS, _MOST_WINDOW_SECONDS = 1800, 3600
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i))?")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def parse_quantity(text: str | int | float) -> Decimal:
    """The number that Quantity text stands for; raises ValueError.

    >>> parse_quantity("1500m"), parse_quantity("2Ki"), parse_quantity(3)
    (Decimal('1.500'), Decimal('2048'), Decimal('3'))
    """
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f'expected a quantity such as 100 or 500m, got "{text}"')
    number, exponent, suffix = match.groups()
    value = Decimal(number + (exponent or ""))
    if suffix is None:
        return value
    if suffix.endswith("i"):
        return value * Decimal(1024) ** " KMGTPE".index(suffix[0])
    return value.scaleb(_POWERS[suffix])


class PolicyWords(Section, frozen=True, rename="camel"):
    """One of `policies`."""

    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: int

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"value: expected 1 or more, got {self.value}")
        if not 1 <= self.period_seconds <= _MOST_PERIOD_SECONDS:
            raise ValueError(f"periodSeconds: expected 1 to {_MOST_PERIOD_SECONDS}, got {self.period_seconds}")


class RulesWords(Section, frozen=True, rename="camel"):
    """`scaleUp` or `scaleDown`."""

    stabilization_window_seconds: int | None = None
    select_policy: hpa.Select | None = None
    policies: tuple[PolicyWords, ...] | None = None
    tolerance: str | int | float | None = None

    def __post_init__(self) -> None:
        window = self.stabilization_window_seconds
        if window is not None and not 0 <= window <= _MOST_WINDOW_SECONDS:
            raise ValueError(f"stabilizationWindowSeconds: expected 0 to {_MOST_WINDOW_SECONDS}, got {window}")
        if self.policies is not None and not self.policies:
            raise ValueError("policies: expected at least one; selectPolicy: Disabled forbids to scale this way")
        if self.tolerance is not None and parse_quantity(self.tolerance) < 0:
            raise ValueError(f"tolerance: expected 0 or more, got {self.tolerance}")

    def over(self, default: hpa.ScalingRules) -> hpa.ScalingRules:
        """These rules, `default` where they are silent."""
        policies = tuple(hpa.Policy(one.type, one.value, one.period_seconds) for one in self.policies or ())
        window = self.stabilization_window_seconds
        return hpa.ScalingRules(
            default.stabilization_window_seconds if window is None else window,
            policies or default.policies,
            self.select_policy or default.select_policy,
            default.tolerance if self.tolerance is None else float(parse_quantity(self.tolerance)),
        )


class BehaviorWords(Section, frozen=True, rename="camel"):
    """`behavior`."""

    scale_up: RulesWords = RulesWords()
    scale_down: RulesWords = RulesWords()

    def behavior(self) -> hpa.Behavior:
        """With Kubernetes' defaults where the words are silent."""
        return hpa.Behavior(self.scale_up.over(hpa.DEFAULT_UP), self.scale_down.over(hpa.DEFAULT_DOWN))


@dataclass(frozen=True)
class Target:
    """What a metric is held to: so much of it by pod, or a share of what pods request."""

    average: Decimal | None = None
    utilization: float | None = None


class SpecWords(Section, frozen=True, rename="camel"):
    """`spec`."""

    max_replicas: int
    scale_target_ref: dict[str, Any] = msgspec.field(default_factory=dict)
    min_replicas: int = 1
    metrics: tuple[dict[str, Any], ...] = ()
    behavior: BehaviorWords | None = None

    def __post_init__(self) -> None:
        if self.max_replicas < 1:
            raise ValueError(f"maxReplicas: expected 1 or more, got {self.max_replicas}")
        if not 0 <= self.min_replicas <= self.max_replicas:
            raise ValueError(f"minReplicas: expected 0 to maxReplicas {self.max_replicas}, got {self.min_replicas}")
        if self.min_replicas == 0 and not any(one.get("type") in ("External", "Object") for one in self.metrics):
            raise ValueError("minReplicas: 0 needs an External or Object metric")


@dataclass(frozen=True)
class Manifest:
    """One HorizontalPodAutoscaler; `behavior` is None where it names none, which is a rule of its own."""

    minimum: int
    maximum: int
    behavior: hpa.Behavior | None
    target: Target


def read(path: Path) -> Manifest:
    """The one HorizontalPodAutoscaler in a YAML file, beside whatever else it holds. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        documents = [*_documents([*yaml.safe_load_all(text)])]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8 text"
        raise ConfigError(f"{path}: can't read the manifest: {reason}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {yaml_reason(error)}") from None
    found = [one for one in documents if one.get("kind") == "HorizontalPodAutoscaler"]
    if len(found) != 1:
        raise ConfigError(f"{path}: expected one HorizontalPodAutoscaler, got {len(found) or 'none'}")
    if found[0].get("apiVersion") != "autoscaling/v2":
        raise ConfigError(f"{path}: apiVersion: expected autoscaling/v2, got {found[0].get('apiVersion')}")
    spec = ConfigFile(path, {"spec": found[0].get("spec")}).section("spec", SpecWords)
    try:
        target = _target(spec.metrics)
    except ValueError as error:
        raise ConfigError(f"{path}: spec.metrics: {error}") from error
    behavior = spec.behavior.behavior() if spec.behavior is not None else None
    return Manifest(spec.min_replicas, spec.max_replicas, behavior, target)


def _documents(found: list[Any]) -> Iterator[dict[str, Any]]:
    """The objects of a file, those of a `List` one by one."""
    for one in found:
        if isinstance(one, dict):
            yield one
            if isinstance(items := one.get("items"), list):
                yield from _documents(items)


def _target(metrics: tuple[dict[str, Any], ...]) -> Target:
    """The target of the only metric; raises ValueError where there is no single one by pod."""
    if len(metrics) != 1:
        raise ValueError(f"expected exactly one, got {len(metrics) or 'none'}: one load is replayed")
    kind = str(metrics[0].get("type", ""))
    source = metrics[0].get(kind[:1].lower() + kind[1:])
    target = source.get("target") if isinstance(source, dict) else None
    if not isinstance(target, dict):
        raise ValueError("[0].target: missing")
    if target.get("type") == "AverageValue":
        average = parse_quantity(target.get("averageValue", ""))
        if average <= 0:
            raise ValueError(f"[0].target.averageValue: expected more than 0, got {average}")
        return Target(average=average)
    if target.get("type") == "Utilization":
        percent = target.get("averageUtilization")
        if not isinstance(percent, int) or percent < 1:
            raise ValueError(f"[0].target.averageUtilization: expected a whole number of 1 or more, got {percent}")
        return Target(utilization=percent / 100)
    raise ValueError(f"[0].target.type: expected AverageValue or Utilization, got {target.get('type')}")
