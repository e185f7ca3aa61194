"""What a ScaledObject asks for: the metadata of its trigger, checked."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from scaler.quantity import LARGEST, SMALLEST_TARGET, check_target
from scaler.refusal import bad_request
from scaler.selector import Selector, parse

KEYS = ("metricName", "targetValue", "activationValue", "selector")
"""Ours. All other metadata are KEDA's own, such as scalerAddress, and it may add some."""

_NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SHOWN = 80


@dataclass(frozen=True)
class Trigger:
    """A trigger of the ScaledObject `name` in `namespace`, whose series alone it may read.

    `target` is the value for each pod (or in all, by the trigger's metricType). It is active above `activation`.
    """

    name: str
    namespace: str
    metric: str
    target: float
    activation: float
    selector: Selector


def trigger(name: str, namespace: str, metadata: Mapping[str, str]) -> Trigger:
    """Read what KEDA sends; raises Refused (400) that names the key."""
    try:
        _check_spelling(metadata)
        return Trigger(
            name,
            _required(namespace, "namespace"),
            _required(metadata.get("metricName", "").strip(), "metricName"),
            _target(metadata),
            _number(metadata, "activationValue", 0, default="0"),
            parse(metadata.get("selector", "")),
        )
    except ValueError as error:
        raise bad_request(f"trigger of ScaledObject {namespace}/{name}: {error}") from None


def _check_spelling(metadata: Mapping[str, str]) -> None:
    """A mistyped activationValue must not silently mean its default."""
    for key in metadata:
        if key not in KEYS and (meant := _meant(key[:_SHOWN])):
            raise ValueError(f"{_shown(key)} is not known, did you mean {meant}?")


@functools.lru_cache(maxsize=256)
def _meant(key: str) -> str:
    """Which of `KEYS` looks much like `key`; "" if none does."""
    lower = {known.lower(): known for known in KEYS}
    close = difflib.get_close_matches(key.lower(), lower, n=1, cutoff=0.8)
    return lower[close[0]] if close else ""


def _required(text: str, key: str) -> str:
    if not text:
        raise ValueError(f"{key}: missing")
    return text


def _target(metadata: Mapping[str, str]) -> float:
    target = _number(metadata, "targetValue", SMALLEST_TARGET)
    try:
        check_target(target)
    except ValueError as error:
        raise ValueError(f"targetValue: {error}") from error
    return target


def _number(metadata: Mapping[str, str], key: str, least: float, default: str | None = None) -> float:
    text = metadata.get(key, default)
    if text is None:
        raise ValueError(f'{key}: missing; expected a number such as "100"')
    number = float(text) if _NUMBER.fullmatch(text.strip()) else float("nan")
    if not least <= number <= LARGEST:
        raise ValueError(f'{key}: expected a number from {least:g} to 2^53, got "{_shown(text)}"')
    return number


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
