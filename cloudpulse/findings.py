"""Findings: what `cloudpulse check --online` says about the things that are configured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # numpy and requests come with the extras; `check` alone works without
    from cloudpulse.promql import MetricSource

Grade = Literal["ok", "note", "warn", "fail"]
"""`fail` means that the thing can't work as it is, and makes the command end with exit code 1."""


@dataclass(frozen=True)
class Finding:
    """One clear message: what was looked at, how it is, what to do; `block` is text to copy, such as a manifest."""

    grade: Grade
    subject: str
    text: str
    block: str = ""


@dataclass(frozen=True)
class Examined:
    """One entry of a section, such as `forecaster.forecasts[0] node_cpu`, and all that was found."""

    place: str
    findings: tuple[Finding, ...]


class Probe(Protocol):
    """What a service offers to `check --online`: a function in its own package, named in `cloudpulse.check.PROBES`."""

    def __call__(self, settings: Any, source: MetricSource) -> Iterator[Examined]:
        """Ask `source` about every entry of the service's typed section. A SourceError becomes a failed finding."""
