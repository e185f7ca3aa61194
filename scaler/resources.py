"""Kinds of Kubernetes objects, as a config names them and as metric paths spell them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WRITTEN_OUT = re.compile(r"(?P<plural>[a-z0-9-]+)(?:\.(?P<group>[a-z0-9.-]+))?/(?P<version>v[a-z0-9]+)/(?P<kind>\w+)")


@dataclass(frozen=True)
class Resource:
    """One kind: `plural` and `group` stand in paths, `kind` and `version` in answers."""

    plural: str
    group: str
    version: str
    kind: str
    namespaced: bool = True

    @property
    def name(self) -> str:
        """As in a metric path: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """As in a manifest: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version


NAMESPACE = Resource("namespaces", "", "v1", "Namespace", namespaced=False)

KNOWN = {
    resource.kind.lower(): resource
    for resource in (
        NAMESPACE,
        Resource("pods", "", "v1", "Pod"),
        Resource("services", "", "v1", "Service"),
        Resource("persistentvolumeclaims", "", "v1", "PersistentVolumeClaim"),
        Resource("nodes", "", "v1", "Node", namespaced=False),
        Resource("deployments", "apps", "v1", "Deployment"),
        Resource("statefulsets", "apps", "v1", "StatefulSet"),
        Resource("daemonsets", "apps", "v1", "DaemonSet"),
        Resource("replicasets", "apps", "v1", "ReplicaSet"),
        Resource("jobs", "batch", "v1", "Job"),
        Resource("cronjobs", "batch", "v1", "CronJob"),
        Resource("ingresses", "networking.k8s.io", "v1", "Ingress"),
    )
}
"""Lower-case kind -> resource, for the kinds that people scale on."""


def resource(word: str) -> Resource:
    """The kind that `word` names: one of `KNOWN`, or written out as `widgets.example.com/v1/Widget`.

    Raises ValueError for anything else.
    """
    if word in KNOWN:
        return KNOWN[word]
    if match := _WRITTEN_OUT.fullmatch(word):
        return Resource(match["plural"], match["group"] or "", match["version"], match["kind"])
    raise ValueError(
        f'unknown kind "{word}": expected one of {", ".join(KNOWN)}, or PLURAL.GROUP/VERSION/KIND such as '
        "widgets.example.com/v1/Widget"
    )
