"""Progress of long work: a bar on a terminal's stderr, nothing in a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Done = Callable[[int], None]
"""Told how many more units of the work are done."""


@contextlib.contextmanager
def shown(what: str, total: int | None = None, unit: str = "") -> Iterator[Done]:
    """Show `what` with a bar over `total` units and the time left; None: the length isn't known.

    Nothing remains on the terminal afterwards. rich comes with the extras; without it nothing is shown.
    """
    if not sys.stderr.isatty():
        yield _unseen
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    except ImportError:
        yield _unseen
        return
    counted = (TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"), TimeRemainingColumn())
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *(counted if total is not None else ()))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def _unseen(count: int) -> None:
    """Nobody looks."""
