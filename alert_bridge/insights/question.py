"""PromQL made of parts: every label and value of an alert is quoted, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cloudpulse.promql import Labels

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def quoted(text: str) -> str:
    """A string literal: https://prometheus.io/docs/prometheus/latest/querying/basics/#string-literals."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def selector(name: str, labels: Labels) -> str:
    """The series `name` with exactly these values; a name of a label that isn't plain ASCII is left out."""
    inner = [f"{label}={quoted(value)}" for label, value in sorted(labels.items()) if _NAME.fullmatch(label)]
    return f"{name}{{{','.join(inner)}}}"


def fitting(name: str, labels: Labels, **exact: str) -> str:
    """The series `name` of which no label that they have is another than in `labels`."""
    matchers = [f"{label}={quoted(value)}" for label, value in exact.items()]
    for label, value in sorted(labels.items()):
        if _NAME.fullmatch(label) and label not in exact and label != "__name__":
            matchers.append(f"{label}=~{quoted('|' + _literally(value))}")
    return f"{name}{{{','.join(matchers)}}}"


def only(query: str, names: Iterable[str], wanted: Iterable[Labels]) -> str:
    """Of `query` the series whose labels `names` are as in one of `wanted`; Prometheus then sends no others."""
    on = sorted(name for name in set(names) if _NAME.fullmatch(name))
    picked = dict.fromkeys(_vector({name: labels.get(name, "") for name in on}) for labels in wanted)
    return f"({query}\n) and on ({', '.join(on)}) ({' or '.join(picked)})"


def _vector(labels: Mapping[str, str]) -> str:
    """One sample with these labels; `$` in a replacement would name a group."""
    made = "vector(1)"
    for name, value in labels.items():
        made = f"label_replace({made}, {quoted(name)}, {quoted(value.replace('$', '$$'))}, {quoted('')}, {quoted('')})"
    return made


def _literally(text: str) -> str:
    """RE2 that matches `text` only; \\Q…\\E can't hold \\E."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
