"""The `scaler` section of the config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from cloudpulse.apikeys import check_sha256
from cloudpulse.config import ConfigFile, Secret, Section, exactly_one
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError
from scaler.docker.config import DockerSettings
from scaler.gate import Thresholds
from scaler.keda.config import Keda
from scaler.resources import NAMESPACE, Resource, resource
from scaler.terms import Clamp, Cost, ReadyQuery

INTERVAL_SECONDS = 15.0
AUTO = "auto"

_FORECAST = re.compile(r"[a-z][a-z0-9_]*")


class Rule(Section, frozen=True):
    """One metric: where its values come from and which objects they describe.

    Either `query`, whose values are served as they are, or `forecast`: then what is served is the larger of the
    forecast and of what is measured now (`floor: none`: the forecast), and what is measured now wherever the forecast
    can't be used. `reactive` is the PromQL of what is measured now, and `step` the forecast's; both are the forecast's
    own where it is in the same file. `resource` maps `namespace` and kinds to the labels that name them; an external
    metric takes `namespace` alone, and without it has the same series in every namespace.
    """

    name: str
    api: Literal["external", "custom"]
    forecast: str | None = None
    horizon: str = AUTO
    ready: str | ReadyQuery | None = None
    level: float | None = None
    cost: Cost | None = None
    floor: Literal["reactive", "none"] = "reactive"
    reactive: str | None = None
    step: Duration | None = None
    gate: Thresholds = Thresholds()
    mode: Literal["active", "shadow"] = "active"
    query: str | None = None
    resource: dict[str, str] = msgspec.field(default_factory=dict)
    clamp: Clamp = Clamp()
    max_age: Duration = Duration(120)

    def __post_init__(self) -> None:
        if not self.name or self.name in (".", "..") or set(self.name) & set("/%") or not self.name.isprintable():
            raise ValueError(f'name: expected a text without "/" and "%", as it stands in a path, got "{self.name}"')
        exactly_one(forecast=self.forecast, query=self.query)
        for key, text in (("query", self.query), ("reactive", self.reactive), ("ready.query", self.ready_query)):
            if text is not None and not text.strip():
                raise ValueError(f"{key}: expected a PromQL expression, got nothing")
        if self.query is not None:
            self._check_plain()
        else:
            self._check_forecast()
        self._check_resource()
        if self.max_age < 1:
            raise ValueError(f"max_age: expected at least 1s, got {self.max_age}")

    def _check_plain(self) -> None:
        for key in _WITH_FORECAST:
            if getattr(self, key) != getattr(_DEFAULTS, key):
                raise ValueError(f"{key} goes with forecast: the values of a query are served as they are")

    def _check_forecast(self) -> None:
        if self.forecast is None or not _FORECAST.fullmatch(self.forecast):
            raise ValueError(f'forecast: expected the name of a forecast such as web_rps, got "{self.forecast}"')
        for key, written in (("horizon", self.fixed_horizon), ("ready", self.fixed_ready)):
            if written is not None and written <= 0:
                raise ValueError(f"{key}: expected more than 0s, got {written}")
        if self.fixed_horizon is not None and self.ready is not None:
            raise ValueError("ready goes with horizon: auto")
        if self.level is not None and self.cost is not None:
            raise ValueError("expected level or cost, got both: cost picks the level")
        if self.level is not None and not 0 < self.level < 1:
            raise ValueError(f"level: expected a number between 0 and 1, got {self.level:g}")

    @property
    def fixed_horizon(self) -> Duration | None:
        """The horizon that is written; None where it is `auto`."""
        return None if self.horizon == AUTO else _duration("horizon", self.horizon)

    @property
    def fixed_ready(self) -> Duration | None:
        """The time that a new pod needs, where it is written."""
        return _duration("ready", self.ready) if isinstance(self.ready, str) else None

    @property
    def ready_query(self) -> str | None:
        """What to ask for that time, where it is written."""
        return self.ready.query if isinstance(self.ready, ReadyQuery) else None

    @property
    def measured(self) -> str | None:
        """The PromQL of what is measured now; None where nothing says it."""
        found = self.query if self.query is not None else self.reactive
        return None if found is None else found.strip()

    @property
    def needs_measured(self) -> bool:
        """Whether nothing may be served without what is measured now."""
        return self.floor == "reactive" or self.mode == "shadow"

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


_WITH_FORECAST = ("horizon", "ready", "level", "cost", "floor", "reactive", "step", "gate", "mode")
_DEFAULTS = Rule(name="defaults", api="external", forecast="defaults")


def _duration(key: str, text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


class Token(Section, frozen=True):
    """A bearer token or its hash, as of `cloudpulse.apikeys`, and the name that the audit log gives its user.

    Files are read at start.
    """

    name: str
    sha256: str | None = None
    sha256_file: Path | None = None
    token: Secret | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        exactly_one(sha256=self.sha256, sha256_file=self.sha256_file, token=self.token, token_file=self.token_file)
        check_sha256(self.sha256)


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
    interval: Duration = Duration(INTERVAL_SECONDS)
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


class _Forecast(msgspec.Struct):
    name: str = ""
    query: str | None = None
    step: str = ""


class _Forecasts(msgspec.Struct):
    """As much of the forecaster's section as the scaler reads; what else is in it is the forecaster's to check."""

    forecasts: tuple[_Forecast, ...] = ()


def read(file: ConfigFile) -> ScalerSettings:
    """The section of `file`; a forecast's own query is what is measured now, for the rules that don't say it.

    Raises ConfigError, also where nothing says what is measured now and a rule can't do without.
    """
    settings = file.section("scaler", ScalerSettings)
    if not any(rule.forecast for rule in settings.metrics):
        return settings
    forecasts = {one.name: one for one in file.section("forecaster", _Forecasts).forecasts}
    rules = []
    for i, rule in enumerate(settings.metrics):
        if (own := forecasts.get(rule.forecast or "")) is not None:
            rule = msgspec.structs.replace(rule, reactive=rule.reactive or own.query, step=rule.step or _step(own))
        if rule.forecast is not None and rule.reactive is None and rule.needs_measured:
            raise ConfigError(
                f"{file.path}: scaler.metrics[{i}]: what is measured now is not known, since this file's "
                f"forecaster.forecasts has no {rule.forecast}: add reactive: with the PromQL that is forecast, "
                "answering the same labels, or floor: none to serve the forecast alone"
            )
        rules.append(rule)
    return msgspec.structs.replace(settings, metrics=tuple(rules))


def _step(own: _Forecast) -> Duration | None:
    try:
        return Duration.parse(own.step)
    except ValueError:
        return None  # unsaid, or wrong, which the forecaster says
