"""Objects selected by the Kubernetes API: the names of those whose labels match, and no more of them than metadata."""

from __future__ import annotations

from urllib.parse import quote

from cloudpulse import logs
from cloudpulse.clock import Clock
from scaler.cluster.api import ClusterApi, ClusterRefused, ClusterUnavailable
from scaler.cluster.remembered import Remembered, Turns
from scaler.config import Rule
from scaler.objects import Chosen
from scaler.refusal import bad_request, unavailable
from scaler.resources import Resource
from scaler.selector import Selector
from scaler.watch import Snapshot

KEPT_SECONDS = 10.0
MOST_SELECTIONS = 256
PAGE = 500
MOST_PAGES = 20
"""10,000 objects of one selector; an HPA has far fewer pods."""
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches"""

log = logs.get(__name__)


class ClusterObjects:
    """Asks `api`; an answer counts for `KEPT_SECONDS`."""

    def __init__(self, api: ClusterApi, ticks: Clock, turns: Turns) -> None:
        self._api = api
        self._names: Remembered[tuple[Resource, str | None, str], frozenset[str]] = Remembered(
            KEPT_SECONDS, MOST_SELECTIONS, ticks, turns
        )

    def chosen(self, rule: Rule, snapshot: Snapshot, kind: Resource, namespace: str | None, asked: Selector) -> Chosen:
        """See `scaler.objects.Objects`; raises Refused (503 while the API can't say, 400 for a selector it refuses)."""
        if not asked.requirements:
            return lambda _, __: True
        text = str(asked)
        try:
            names = self._names.get((kind, namespace, text), lambda: self._listed(kind, namespace, text))
        except ClusterRefused as error:
            if error.code == 400:
                raise bad_request(f"{rule.title}: the Kubernetes API can't read the labelSelector {text}") from error
            log.warning("objects not selected", kind=kind.name, error=str(error))
            raise unavailable(
                f"{rule.title}: which {kind.name} {text} selects can't be asked: the Kubernetes API answers "
                f"{error.code}: let the scaler list {kind.name}"
            ) from error
        except ClusterUnavailable as error:
            log.warning("objects not selected", kind=kind.name, error=str(error))
            raise unavailable(f"{rule.title}: which {kind.name} {text} selects is not known: {error.reason}") from error
        return lambda name, _: name in names

    def _listed(self, kind: Resource, namespace: str | None, selector: str) -> frozenset[str]:
        names: set[str] = set()
        query = {"labelSelector": selector, "limit": str(PAGE)}
        for _ in range(MOST_PAGES):
            page = self._api.get(_path(kind, namespace), query, METADATA)
            try:
                names.update(item["metadata"]["name"] for item in page.get("items") or ())
                more = page["metadata"].get("continue")
            except (AttributeError, KeyError, TypeError):
                raise ClusterUnavailable(f"the list of {kind.name} is not one of objects") from None
            if not more:
                return frozenset(names)
            query["continue"] = more
        many = f"it selects more than {PAGE * MOST_PAGES} of them"
        raise ClusterUnavailable(f"{kind.name} {selector}: {many}", many)


def _path(kind: Resource, namespace: str | None) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    place = f"/namespaces/{quote(namespace, safe='')}" if namespace is not None else ""
    return f"{root}{place}/{kind.plural}"
