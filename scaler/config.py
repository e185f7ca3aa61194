"""The `scaler` section of the config."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import msgspec

from cloudpulse.config import Secret, Section, exactly_one
from cloudpulse.durations import Duration
from scaler.docker.config import DockerSettings
from scaler.keda.config import Keda
from scaler.quantity import LARGEST
from scaler.resources import NAMESPACE, Resource, resource

DEFAULT_LEVEL = 0.9
"""The level of a forecast rule that names none: room for nine cases of ten."""

_FORECAST = re.compile(r"[a-z][a-z0-9_]*")


class Clamp(Section, frozen=True):
    """Bounds that each value is held within; NaN and Inf are refused before, never clamped."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        for key, bound in (("min", self.min), ("max", self.max)):
            if bound is not None and not (math.isfinite(bound) and abs(bound) <= LARGEST):
                raise ValueError(f"{key}: expected a number within ±2^53, got {bound:g}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected min not above max, got {self.min:g} and {self.max:g}")

    def apply(self, value: float) -> float:
        """`value`, or the bound that it is beyond."""
        if self.min is not None and value < self.min:
            return self.min
        if self.max is not None and value > self.max:
            return self.max
        return value


class Rule(Section, frozen=True):
    """One metric: where its values come from and which objects they describe.

    `forecast` with `horizon` and `level` is short for a query over `cloudpulse_forecast_value`. `resource` maps
    `namespace` and kinds to the labels that name them; an external metric takes `namespace` alone, and without it
    has the same series in every namespace.
    """

    name: str
    api: Literal["external", "custom"]
    forecast: str | None = None
    horizon: Duration | None = None
    level: float | None = None
    query: str | None = None
    resource: dict[str, str] = msgspec.field(default_factory=dict)
    clamp: Clamp = Clamp()
    max_age: Duration = Duration(120)

    def __post_init__(self) -> None:
        if not self.name or self.name in (".", "..") or set(self.name) & set("/%") or not self.name.isprintable():
            raise ValueError(f'name: expected a text without "/" and "%", as it stands in a path, got "{self.name}"')
        exactly_one(forecast=self.forecast, query=self.query)
        self._check_source()
        self._check_resource()
        if self.max_age < 1:
            raise ValueError(f"max_age: expected at least 1s, got {self.max_age}")

    def _check_source(self) -> None:
        if self.query is not None:
            if not self.query.strip():
                raise ValueError("query: expected a PromQL expression, got nothing")
            if self.horizon is not None or self.level is not None:
                raise ValueError("horizon and level go with forecast; select them inside the query instead")
            return
        if self.forecast is None or not _FORECAST.fullmatch(self.forecast):
            raise ValueError(f'forecast: expected the name of a forecast such as web_rps, got "{self.forecast}"')
        if self.horizon is None:
            raise ValueError("horizon: missing; it must be one of the forecast's horizons, such as 15m")
        if self.level is not None and not 0 < self.level < 1:
            raise ValueError(f"level: expected a number between 0 and 1, got {self.level:g}")

    def _check_resource(self) -> None:
        for key, label in self.resource.items():
            if not label:
                raise ValueError(f"resource.{key}: expected the name of a label, got nothing")
        kinds = [resource(key) for key in self.resource if key != "namespace"]
        if self.api == "external":
            if kinds:
                raise ValueError("resource: an external metric describes no object; keep namespace alone, or none")
            return
        if not self.resource:
            raise ValueError("resource: missing; a custom metric needs the labels that name its objects")
        for kind, key in zip(kinds, (key for key in self.resource if key != "namespace"), strict=True):
            if kind.namespaced and "/" not in key and self.namespace_label is None:
                raise ValueError(f"resource: {key} is namespaced, add namespace: LABEL")
            if not kind.namespaced and self.namespace_label is not None:
                raise ValueError(f"resource: {key} belongs to no namespace, remove namespace")

    @property
    def namespace_label(self) -> str | None:
        """The label that holds the namespace."""
        return self.resource.get("namespace")

    @property
    def objects(self) -> dict[str, tuple[Resource, str]]:
        """Resource as in a path -> (resource, the label that names the object); namespaces if nothing else is named."""
        if self.api == "external":
            return {}
        kinds = [(resource(key), label) for key, label in self.resource.items() if key != "namespace"]
        if not kinds:
            kinds = [(NAMESPACE, self.resource["namespace"])]
        return {kind.name: (kind, label) for kind, label in kinds}

    @property
    def title(self) -> str:
        """What messages call it."""
        return f'{self.api} metric "{self.name}"'


class Token(Section, frozen=True):
    """A bearer token and the name that the audit log gives its user; a `token_file` is read at start."""

    name: str
    token: Secret | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        exactly_one(token=self.token, token_file=self.token_file)


class Authentication(Section, frozen=True):
    """Who may read.

    static: any certificate that the CA signed, any of the tokens, or, said in so many words, everyone. delegated: whom
    the Kubernetes cluster knows and lets; `kubeconfig` leads to it from outside of a pod.
    """

    mode: Literal["static", "delegated"] = "static"
    kubeconfig: Path | None = None
    client_ca_file: Path | None = None
    tokens: tuple[Token, ...] = ()
    anonymous: bool = False

    def __post_init__(self) -> None:
        if self.mode == "static" and self.kubeconfig is not None:
            raise ValueError("kubeconfig goes with mode: delegated")
        if self.mode == "delegated" and (self.client_ca_file or self.tokens or self.anonymous):
            raise ValueError(
                "client_ca_file, tokens and anonymous go with mode: static; with delegated the cluster says who reads"
            )
        names = [token.name for token in self.tokens]
        if len(set(names)) != len(names):
            raise ValueError(f"tokens: expected each name once, got {', '.join(names)}")


class TlsFiles(Section, frozen=True):
    """The server's own certificate; without it one is made under `data_dir`."""

    cert_file: Path
    key_file: Path


class ScalerSettings(Section, frozen=True):
    """The whole section."""

    data_dir: Path = Path("./data/scaler")
    metrics: tuple[Rule, ...] = ()
    auth: Authentication = Authentication()
    tls: TlsFiles | None = None
    keda: Keda | None = None
    interval: Duration = Duration(15)
    docker: DockerSettings | None = None

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ValueError(f"interval: expected at least 1s, got {self.interval}")
        seen: dict[tuple[str, str], str] = {}
        for i, rule in enumerate(self.metrics):
            if rule.max_age < self.interval:
                raise ValueError(f"metrics[{i}]: max_age {rule.max_age} is shorter than interval {self.interval}")
            # Kubernetes asks for external metrics in lower case, so that names differing by case alone collide.
            keys = (
                [(rule.name.lower(), "external")] if rule.api == "external" else [(rule.name, o) for o in rule.objects]
            )
            for key in keys:
                if key in seen:
                    raise ValueError(f'metrics[{i}]: "{rule.name}" is the same metric as "{seen[key]}": rename one')
                seen[key] = rule.name
        if self.docker is not None:
            self.docker.check(
                {rule.name.lower(): rule.namespace_label for rule in self.metrics if rule.api == "external"}
            )
