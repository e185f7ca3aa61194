"""What `cloudpulse check --online` says about Prometheus' own config: does it read the future, and as it should?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from cloudpulse.findings import Finding
from forecaster.curves import NAME

LINES = f"""remote_read:
  - url: http://localhost:9811/api/v1/read
    read_recent: true
    filter_external_labels: false
    required_matchers: {{__name__: {NAME}}}
"""
"""What a Prometheus needs; where it runs elsewhere, with the forecaster's host."""


def findings(configuration: str) -> Iterator[Finding]:
    """About Prometheus' config as its API tells it; nothing about one that isn't told, or isn't Prometheus'."""
    tree = _mapping(configuration)
    if tree is None:
        return
    entries = [entry for entry in tree.get("remote_read") or () if _ours(entry)]
    if not entries:
        text = f"Prometheus doesn't read {NAME}: graphs and rules end now; to paste into prometheus.yml"
        yield Finding("note", "future", text, LINES)
        return
    for entry in entries:
        problems = list(_problems(entry, (tree.get("global") or {}).get("external_labels")))
        for problem in problems:
            yield Finding("warn", "future", f"remote_read of {entry['url']}: {problem}")
        if not problems:
            yield Finding("ok", "future", f"Prometheus reads {NAME} from {entry['url']}")


def _mapping(text: str) -> Mapping[str, Any] | None:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return tree if isinstance(tree, dict) else None


def _ours(entry: Mapping[str, Any]) -> bool:
    """By what it requires, or by the forecaster's port: others read remotely, too."""
    name = (entry.get("required_matchers") or {}).get("__name__")
    return name == NAME or (name is None and str(entry.get("url")).endswith(":9811/api/v1/read"))


def _problems(entry: Mapping[str, Any], external_labels: object) -> Iterator[str]:
    """What the API leaves out is false."""
    if not entry.get("read_recent"):
        yield "without read_recent: true the future is never asked for"
    if entry.get("filter_external_labels") and external_labels:
        yield "without filter_external_labels: false only series with Prometheus' external_labels are found: none"
    if not entry.get("required_matchers"):
        yield f"without required_matchers: {{__name__: {NAME}}} every query of any series waits for the forecaster"
