"""The custom and external metrics APIs on the wire: paths and queries in, lists and Status objects out.

Paths are split before they are decoded and never normalised: kube-apiserver authorises `..` as a name in the caller's
own namespace, so that resolving it would read another one (hpa-wire-trace: traversal-limited-user).
Source of the shapes: k8s.io/metrics `pkg/apis/{custom_metrics,external_metrics}` and the captured trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from scaler import selector
from scaler.access import Action
from scaler.evaluation import Item
from scaler.provider import Answer
from scaler.refusal import Refused, bad_request, not_found
from scaler.resources import NAMESPACE
from scaler.selector import EVERYTHING, Selector

CUSTOM = "custom.metrics.k8s.io"
EXTERNAL = "external.metrics.k8s.io"
VERSIONS = {CUSTOM: ("v1beta2", "v1beta1"), EXTERNAL: ("v1beta1",)}
"""Group -> versions, the preferred one first."""

MOST_PARAMETERS = 100


@dataclass(frozen=True)
class MetricRequest:
    """A question for values. `kind` is "" for an external metric; `namespace` is None outside of namespaces."""

    group: str
    version: str
    namespace: str | None
    kind: str
    name: str
    metric: str
    objects: Selector = EVERYTHING
    series: Selector = EVERYTHING


def split_path(path: str) -> tuple[str, ...]:
    """The segments of a raw path, each decoded on its own; raises Refused for one that could mean another path.

    `path` is as it came over the wire, its bytes as latin-1.
    """
    if not path.startswith("/"):
        raise not_found("there is no such path")
    return tuple(_segment(raw) for raw in path[1:].split("/"))


def _segment(raw: str) -> str:
    try:
        text = unquote_to_bytes(raw.encode("latin-1")).decode("utf-8")
    except UnicodeError:
        raise not_found("a part of the path is not UTF-8") from None
    if text in ("", ".", "..") or "/" in text or "%" in text or "\0" in text:
        raise not_found('a part of the path is empty, ".", "..", or holds "/" or "%": paths are taken as they are')
    return text


def metric_request(segments: Sequence[str], query: str) -> MetricRequest | None:
    """The question that a path and its raw query ask; None when the path is none of values. Raises Refused."""
    match segments:
        case ("apis", "external.metrics.k8s.io", version, "namespaces", namespace, metric):
            found = MetricRequest(EXTERNAL, version, namespace, "", "", metric)
        case ("apis", "custom.metrics.k8s.io", version, "namespaces", name, "metrics", metric):
            found = MetricRequest(CUSTOM, version, None, NAMESPACE.name, name, metric)
        case ("apis", "custom.metrics.k8s.io", version, "namespaces", namespace, kind, name, metric):
            found = MetricRequest(CUSTOM, version, namespace, kind, name, metric)
        case ("apis", "custom.metrics.k8s.io", version, kind, name, metric) if kind != NAMESPACE.name:
            found = MetricRequest(CUSTOM, version, None, kind, name, metric)
        case _:
            return None
    if found.version not in VERSIONS[found.group]:
        return None
    return _selecting(found, query)


def _selecting(found: MetricRequest, query: str) -> MetricRequest:
    parameters = _parameters(query)
    chosen = _selector(parameters, "labelSelector")
    if found.group == EXTERNAL:
        objects, series = EVERYTHING, chosen
    else:
        objects, series = chosen, _selector(parameters, "metricLabelSelector")
    return MetricRequest(
        found.group, found.version, found.namespace, found.kind, found.name, found.metric, objects, series
    )


def _parameters(query: str) -> dict[str, list[str]]:
    parameters: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(
            query, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=MOST_PARAMETERS
        ):
            parameters.setdefault(name, []).append(value)
    except ValueError:  # a UnicodeDecodeError is one, too
        raise bad_request(f"the query is not UTF-8, or has more than {MOST_PARAMETERS} parameters") from None
    return parameters


def _selector(parameters: dict[str, list[str]], name: str) -> Selector:
    texts = parameters.get(name, [""])
    if len(texts) > 1:
        raise bad_request(f"{name} is given {len(texts)} times: give it once")
    try:
        return selector.parse(texts[0])
    except ValueError as error:
        raise bad_request(f"{name}: {error}") from None


def action(request: MetricRequest) -> Action:
    """What kube-apiserver authorises before it passes `request` on, and what a caller needs to be allowed."""
    place = {"group": request.group, "version": request.version}
    if request.group == EXTERNAL:
        return Action("list", **place, namespace=request.namespace or "", resource=request.metric)
    if request.kind == NAMESPACE.name:
        return Action("get", **place, namespace=request.name, resource="metrics", name=request.metric)
    return Action(
        "get",
        **place,
        namespace=request.namespace or "",
        resource=request.kind,
        subresource=request.metric,
        name=request.name,
    )


def external_list(answer: Answer) -> dict[str, Any]:
    """An ExternalMetricValueList."""
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": f"{EXTERNAL}/{VERSIONS[EXTERNAL][0]}",
        "metadata": {},
        "items": [
            {
                "metricName": answer.rule.name,
                "metricLabels": item.labels,
                "timestamp": timestamp(item),
                "value": item.quantity,
            }
            for item in answer.items
        ],
    }


def custom_list(answer: Answer, request: MetricRequest) -> dict[str, Any]:
    """A MetricValueList in the version that was asked for."""
    assert answer.kind is not None
    described = {"kind": answer.kind.kind, "apiVersion": answer.kind.api_version}
    if request.namespace is not None:
        described["namespace"] = request.namespace
    if request.version == "v1beta1":
        metric: dict[str, Any] = {"metricName": answer.rule.name}
    else:
        metric = {"metric": {"name": answer.rule.name, "selector": None}}
    return {
        "kind": "MetricValueList",
        "apiVersion": f"{CUSTOM}/{request.version}",
        "metadata": {},
        "items": [
            {
                "describedObject": {**described, "name": name},
                **metric,
                "timestamp": timestamp(item),
                "value": item.quantity,
            }
            for name, item in zip(answer.objects, answer.items, strict=True)
        ],
    }


def timestamp(item: Item) -> str:
    """RFC 3339 in UTC, whole seconds: the sample's own time."""
    return datetime.fromtimestamp(int(item.time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(refused: Refused) -> dict[str, Any]:
    """A `Status` of apimachinery `pkg/apis/meta/v1`; the HPA shows its message."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refused.message,
        "reason": refused.reason,
        "code": refused.code,
    }
