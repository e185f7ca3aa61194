"""Nothing wrong shown as 0, and nothing known as nothing."""

from __future__ import annotations


def none_without(expr: str, label: str, witness: str) -> str:
    """`expr`, or where it has no series a 0 with `label="none"`: only while the series `witness` is there.

    A counter by reason begins to exist with the first reason. Its absence means 0 only from a service that is scraped.
    """
    return f'({expr})\nor on () label_replace(0 * count({witness}), "{label}", "none", "", "")'
