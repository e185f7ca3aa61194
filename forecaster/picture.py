"""A picture of a forecast: what was, the median, and bands that fade with their width."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cloudpulse.errors import StoreError
from cloudpulse.promql import Labels
from forecaster.forecast import Forecast
from forecaster.frame import Frame

MOST_PANELS = 6
_INK, _PAST, _AHEAD, _QUIET = "#1f2933", "#52606d", "#e6522c", "#cbd2d9"
_STYLE: Any = {  # matplotlib's type lists every key there is
    "axes.edgecolor": _QUIET,
    "font.size": 10,
    "text.color": _INK,
    "xtick.color": _PAST,
    "ytick.color": _PAST,
}
_HISTORY_SHARE = 2.0
"""History shown, against the horizon; three days at least."""


def draw(path: Path, history: Frame, forecast: Forecast, title: str) -> None:
    """Write a PNG or SVG (by its ending) of up to `MOST_PANELS` series; raises StoreError when it can't."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.dates
    import matplotlib.pyplot as plt

    shown = range(min(len(forecast.labels), MOST_PANELS))
    columns = max(int(_HISTORY_SHARE * forecast.horizon), int(3 * 86400 / history.step))
    past = history.tail(columns)
    before = _times(past.start, past.step, past.length)
    ahead = _times(forecast.start, forecast.step, forecast.horizon)
    with plt.rc_context(_STYLE):
        figure, grid = plt.subplots(
            len(shown), 1, figsize=(11, 1.2 + 2.9 * len(shown)), squeeze=False, sharex=True, layout="constrained"
        )
        for axis, i in zip(grid[:, 0], shown, strict=True):
            axis.plot(before, past.values[i], color=_PAST, linewidth=1.1, label="observed")
            _bands(axis, ahead, forecast, i)
            axis.axvline(before[-1], color=_PAST, linewidth=0.8, linestyle=(0, (2, 3)))
            axis.set_title(name_of(forecast, i), loc="left", fontsize=9, color=_PAST)
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(axis="y", color=_QUIET, linewidth=0.6, alpha=0.7)
            axis.set_axisbelow(True)
            axis.margins(x=0.01)
            locator = matplotlib.dates.AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]  # not typed there
            axis.xaxis.set_major_locator(locator)
            concise = matplotlib.dates.ConciseDateFormatter(locator, tz=UTC)  # type: ignore[no-untyped-call]  # the same
            axis.xaxis.set_major_formatter(concise)
        handles, texts = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper right", frameon=False, ncols=3, fontsize=9)
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        try:
            figure.savefig(path, dpi=130)
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: the picture can't be written: {error}") from error
        finally:
            plt.close(figure)


def name_of(forecast: Forecast, i: int) -> str:
    """Series i as `promql_name` has it."""
    return promql_name(forecast.labels[i])


def promql_name(labels: Labels) -> str:
    """A series as PromQL writes it, or the bare name of a CSV's column."""
    if list(labels) == ["series"]:
        return labels["series"]
    inner = ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items()) if key != "__name__")
    return f"{labels.get('__name__', '')}{{{inner}}}"


def _bands(axis: Any, ahead: list[datetime], forecast: Forecast, i: int) -> None:
    """Pairs of levels from the outermost in, and the level nearest to the median as a line."""
    values, levels = forecast.values[i], np.array(forecast.levels)
    pairs = [(low, len(levels) - 1 - low) for low in range(len(levels) // 2)]
    for low, high in pairs:
        label = f"{100 * (levels[high] - levels[low]):.0f} % band" if low == 0 else None
        axis.fill_between(
            ahead,
            values[:, low],
            values[:, high],
            color=_AHEAD,
            alpha=0.28 / len(pairs) + 0.04,
            linewidth=0,
            label=label,
        )
    middle = int(np.abs(levels - 0.5).argmin())
    label = "median forecast" if levels[middle] == 0.5 else f"level {levels[middle]:g}"
    axis.plot(ahead, values[:, middle], color=_AHEAD, linewidth=1.8, label=label)


def _times(start: float, step: float, length: int) -> list[datetime]:
    return [datetime.fromtimestamp(start + k * step, UTC) for k in range(length)]
