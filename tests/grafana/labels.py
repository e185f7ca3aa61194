"""Which labels an expression's series can have: what dashboards may match, aggregate by and show."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import promql_parser as promql
import yaml

from cloudpulse import names

SCRAPE = frozenset({"job", "instance"})
"""What a scrape adds to each series."""
FOREIGN = {
    "up": frozenset[str](),
    "ALERTS": frozenset({"alertname", "alertstate", "severity", "forecast", "instance"}),
    "ALERTS_FOR_STATE": frozenset({"alertname", "severity", "forecast", "instance"}),
    **dict.fromkeys(("scrape_duration_seconds", "scrape_samples_post_metric_relabeling"), frozenset[str]()),
    **dict.fromkeys(
        (
            "process_cpu_seconds_total",
            "process_max_fds",
            "process_open_fds",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
        ),
        frozenset[str](),
    ),
    "prometheus_http_requests_total": frozenset({"handler", "code"}),
    "prometheus_tsdb_head_series": frozenset(),
    "alertmanager_alerts": frozenset({"state"}),
    "alertmanager_notifications_total": frozenset({"integration"}),
    "alertmanager_notifications_failed_total": frozenset({"integration"}),
    # github.com/kubernetes/kube-state-metrics: docs/metrics/workload/horizontalpodautoscaler-metrics.md
    **{
        f"kube_horizontalpodautoscaler_{name}": frozenset({"namespace", "horizontalpodautoscaler", *more})
        for name, more in {
            "spec_min_replicas": (),
            "spec_max_replicas": (),
            "status_current_replicas": (),
            "status_desired_replicas": (),
            "status_condition": ("condition", "status"),
        }.items()
    },
}
"""Series of others that dashboards may use, with their labels."""
RULES = Path(__file__).parents[2] / "prometheus" / "rules"
SETS = ("and", "unless")
SELECTING = ("topk", "bottomk", "limitk")


def own() -> dict[str, frozenset[str]]:
    """Each exported series with its own labels; a histogram has three, one of them with `le`."""
    found: dict[str, frozenset[str]] = {}
    for definition in names.definitions():
        labels = frozenset(definition.labels)
        if definition.kind == "histogram":
            found |= {definition.name + suffix: labels for suffix in ("_sum", "_count")}
            found[definition.name + "_bucket"] = labels | {"le"}
        else:
            found[definition.name] = labels
    return found


OWN = own()
SOURCE = frozenset[str]().union(*(labels for name, labels in OWN.items() if "_node_" in name or "_demo_" in name))
"""What a forecast series may have from its source, when that is a series of ours."""


@cache
def recorded() -> dict[str, str]:
    """The expressions of the recording rules, by name."""
    groups = [group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"] if "record" in rule}


def known(name: str) -> frozenset[str]:
    """The labels that series of this name can have. LookupError for one that nobody exports or records."""
    if name in recorded():
        return of(promql.parse(recorded()[name]))
    if name.startswith("cloudpulse_forecast_"):
        return OWN[name] | SCRAPE | SOURCE
    return (FOREIGN[name] if name in FOREIGN else OWN[name]) | SCRAPE


def of(node: promql.Expr) -> frozenset[str]:
    """The labels that the answer can have, at most. Raises AssertionError where one is used that can't be there."""
    if isinstance(node, promql.VectorSelector):
        labels = known(str(node.name))
        _in(labels, (matcher.name for matcher in node.matchers.matchers), node)
        return labels
    if isinstance(node, promql.MatrixSelector):
        return of(node.vector_selector)
    if isinstance(node, promql.AggregateExpr):
        return _aggregated(node)
    if isinstance(node, promql.BinaryExpr):
        return _joined(node)
    if isinstance(node, promql.Call):
        labels = frozenset[str]().union(*map(of, node.args))
        made = {str(node.args[1].val)} if node.func.name in ("label_replace", "label_join") else set()
        return labels - {"le"} if node.func.name == "histogram_quantile" else labels | made
    inner = getattr(node, "expr", None)
    return of(inner) if isinstance(inner, promql.Expr) else frozenset()


def selectors(node: promql.Expr) -> Iterator[tuple[promql.VectorSelector, tuple[promql.Expr, ...]]]:
    """Every selector with what it stands in, the outermost first."""
    yield from _selectors(node, ())


def _selectors(
    node: promql.Expr, within: tuple[promql.Expr, ...]
) -> Iterator[tuple[promql.VectorSelector, tuple[promql.Expr, ...]]]:
    if isinstance(node, promql.VectorSelector):
        yield node, within
        return
    parts = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "param", "vector_selector")]
    for part in [*parts, *getattr(node, "args", [])]:
        if isinstance(part, promql.Expr):
            yield from _selectors(part, (*within, node))


def _aggregated(node: promql.AggregateExpr) -> frozenset[str]:
    labels = of(node.expr)
    if node.modifier is None:
        return labels if str(node.op) in SELECTING else frozenset()
    named = frozenset(node.modifier.labels)
    _in(labels, named, node)
    if str(node.op) in SELECTING:
        return labels
    return named if node.modifier.type == promql.AggModifierType.By else labels - named


def _joined(node: promql.BinaryExpr) -> frozenset[str]:
    left, right = of(node.lhs), of(node.rhs)
    if node.modifier is not None and node.modifier.matching is not None:
        _in(left | right, node.modifier.matching.labels, node)
        _in(left | right, node.modifier.group_labels or (), node)
    if str(node.op) in SETS:
        return left
    if str(node.op) == "or":
        return left | right
    if node.modifier is not None and node.modifier.card == promql.VectorMatchCardinality.OneToMany:
        return right | frozenset(node.modifier.group_labels or ())
    if node.modifier is not None and node.modifier.card == promql.VectorMatchCardinality.ManyToOne:
        return left | frozenset(node.modifier.group_labels or ())
    return left if left else right


def _in(
    labels: frozenset[str], used: Iterator[str] | frozenset[str] | list[str] | tuple[()], node: promql.Expr
) -> None:
    unknown = set(used) - labels
    assert not unknown, f"no series in {node} has {sorted(unknown)}; they have {sorted(labels)}"
