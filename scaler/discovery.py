"""What the API server says of itself: groups, resources, OpenAPI. Made once from the rules; it needs no Prometheus.

An APIService whose discovery fails makes deleting any namespace hang (kubernetes#75788), hence nothing here can fail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from cloudpulse import __version__
from scaler.config import Rule
from scaler.protocol import CUSTOM, EXTERNAL, VERSIONS
from scaler.refusal import not_acceptable
from scaler.resources import NAMESPACE

JSON = "application/json"


@dataclass(frozen=True)
class Document:
    """A body that stays the same while the process runs, with its entity tag (quoted, as in the header)."""

    content_type: str
    body: bytes
    etag: str


@dataclass(frozen=True)
class _Listed:
    """One entry of a resource list."""

    name: str
    kind: str
    namespaced: bool


class Discovery:
    """The documents for `rules`."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        listed = {
            CUSTOM: [entry for rule in rules if rule.api == "custom" for entry in _custom(rule)],
            # Kubernetes asks for external metrics in lower case.
            EXTERNAL: [
                _Listed(rule.name.lower(), "ExternalMetricValueList", True) for rule in rules if rule.api == "external"
            ],
        }
        self._aggregated = {version: _aggregated(version, listed) for version in ("v2", "v2beta1")}
        self._groups = _document({"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g) for g in VERSIONS]})
        self._others = dict(_others(listed))

    def find(self, segments: Sequence[str], accept: str) -> Document | None:
        """The document at a path in a form that the `Accept` header takes; None if there is none at that path.

        Raises Refused when no form is taken.
        """
        if tuple(segments) == ("apis",):
            return self._apis(accept)
        return self._others.get(tuple(segments))

    def _apis(self, accept: str) -> Document:
        for choice in (accept or "*/*").split(","):
            media, *words = (word.strip() for word in choice.split(";"))
            parameters = dict(word.partition("=")[::2] for word in words)
            if parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("g") == "apidiscovery.k8s.io":
                if media == JSON and (found := self._aggregated.get(parameters.get("v", ""))):
                    return found
            elif "as" not in parameters and media in (JSON, "application/*", "*/*"):
                return self._groups
        raise not_acceptable("/apis is answered as application/json, plain or as APIGroupDiscoveryList v2 or v2beta1")


def _custom(rule: Rule) -> list[_Listed]:
    return [
        _Listed(f"{name}/{rule.name}", "MetricValueList", rule.namespace_label is not None and name != NAMESPACE.name)
        for name in rule.objects
    ]


def _document(tree: Mapping[str, Any], content_type: str = JSON) -> Document:
    body = msgspec.json.encode(tree)
    return Document(content_type, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _aggregated(version: str, listed: Mapping[str, Sequence[_Listed]]) -> Document:
    def resources(group: str) -> list[dict[str, Any]]:
        return [
            {
                "resource": entry.name,
                "responseKind": {"group": "", "version": "", "kind": entry.kind},
                "scope": "Namespaced" if entry.namespaced else "Cluster",
                "singularResource": "",
                "verbs": ["get"],
            }
            for entry in listed[group]
        ]

    tree = {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": group, "creationTimestamp": None},
                "versions": [
                    {"version": served, "freshness": "Current", "resources": resources(group)} for served in versions
                ],
            }
            for group, versions in VERSIONS.items()
        ],
    }
    return _document(tree, f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")


def _group(group: str) -> dict[str, Any]:
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in VERSIONS[group]]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _others(listed: Mapping[str, Sequence[_Listed]]) -> list[tuple[tuple[str, ...], Document]]:
    found: list[tuple[tuple[str, ...], Document]] = []
    info = {"title": "CloudPulse scaler", "version": __version__}
    paths, roots = {}, {}
    for group, versions in VERSIONS.items():
        found.append((("apis", group), _document({"kind": "APIGroup", "apiVersion": "v1", **_group(group)})))
        for version in versions:
            found.append((("apis", group, version), _document(_resource_list(group, version, listed[group]))))
            operation = {
                "operationId": f"list{group.partition('.')[0].title()}Metrics{version.title()}Resources",
                "responses": {"200": {"description": "OK"}},
            }
            path = f"/apis/{group}/{version}/"
            paths[path] = {"get": operation}
            third = _document({"openapi": "3.0.0", "info": info, "paths": {path: {"get": operation}}})
            found.append((("openapi", "v3", "apis", group, version), third))
            tag = third.etag.strip('"')
            roots[f"apis/{group}/{version}"] = {"serverRelativeURL": f"/openapi/v3/apis/{group}/{version}?hash={tag}"}
    found.append((("openapi", "v2"), _document({"swagger": "2.0", "info": info, "paths": paths, "definitions": {}})))
    found.append((("openapi", "v3"), _document({"paths": roots})))
    return found


def _resource_list(group: str, version: str, listed: Sequence[_Listed]) -> dict[str, Any]:
    resources = [
        {
            "name": entry.name,
            "singularName": "",
            "namespaced": entry.namespaced,
            "kind": entry.kind,
            "verbs": ["get"],
        }
        for entry in listed
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}",
        "resources": resources,
    }
