"""Which objects a `labelSelector` selects: one question, two ways to know.

Series rarely carry the labels of the objects that they describe. Without a cluster that is all there is;
`cluster.objects.ClusterObjects` asks the Kubernetes API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from scaler.config import Rule
from scaler.evaluation import Item
from scaler.refusal import not_found
from scaler.resources import Resource
from scaler.selector import Selector, carries
from scaler.watch import Snapshot

Chosen = Callable[[str, Item], bool]
"""Whether an object, by its name and one of its series, is selected."""


class Objects(Protocol):
    """Selects objects by their own labels. For several threads."""

    def chosen(self, rule: Rule, snapshot: Snapshot, kind: Resource, namespace: str | None, asked: Selector) -> Chosen:
        """What selects the objects of `kind` in `namespace` (None outside of namespaces) that `asked` selects.

        Raises Refused where that can't be known.
        """


class CarriedLabels:
    """Goes by the labels that the series carry; one that none carries is refused instead of guessed."""

    def chosen(self, rule: Rule, snapshot: Snapshot, kind: Resource, namespace: str | None, asked: Selector) -> Chosen:
        """See `Objects`; raises Refused (404)."""
        for requirement in asked.requirements:
            if snapshot.items and not carries(snapshot.carried, requirement.key):
                raise not_found(
                    f"{rule.title}: no series carries the label {requirement.key}, so that objects can't be selected "
                    "by it: keep that label in the rule's query"
                )
        return lambda _, item: asked.matches(item.labels)
