"""The picture of an alert: the last hours, the forecast's band, the threshold, now. A PNG for a phone.

Without pyplot and its global state: a Figure with a canvas of its own, drawn by one thread at a time, since
matplotlib's fonts and caches are shared (https://matplotlib.org/stable/users/faq.html#work-with-threads).
"""

from __future__ import annotations

import io
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alert_bridge.insights.path import Path
from alert_bridge.insights.units import PLAIN, Unit

WIDTH, HEIGHT, DPI = 4.5, 3.1, 280
"""Inches: a little more than the width of a phone, so that a point of a font there is nearly one."""
COLOURS = 64
DAY = 86400.0
HUGE = 1e300
"""Beyond this no axis can be drawn: what it is divided by overflows."""
MOST_TITLE, MOST_SUBTITLE = 34, 60

INK, QUIET, GRID = "#1b2733", "#64748b", "#e2e8f0"
OWN, OTHERS, BAND, MEDIAN, LIMIT = "#1d4ed8", "#94a3b8", "#f59e0b", "#b45309", "#dc2626"
_TOFU = "\N{WHITE VERTICAL RECTANGLE}"
_FONT = "DejaVu Sans"
"""Comes with matplotlib, so it is always there."""


@dataclass(frozen=True)
class Scene:
    """What is drawn: `times` Unix seconds up to now, `values` of the alert's own series (empty: not known), NaN a gap.

    `limit` is a number, or one for each of `times`. `beyond` says on which side of it the alert fires: 1 above, -1
    below, 0 unsaid.
    """

    title: str
    subtitle: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    others: Sequence[NDArray[np.float64]] = ()
    limit: float | NDArray[np.float64] | None = None
    beyond: int = 0
    expected: Path | None = None
    ahead: Path | None = None
    unit: Unit = PLAIN


class Painter:
    """Draws scenes in a time zone. For several threads, which take turns."""

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._turn = threading.Lock()
        self._glyphs: frozenset[int] | None = None

    def warm(self) -> None:
        """Import matplotlib, find its font and draw once: the first picture isn't the one that takes a second."""
        times = np.arange(0.0, 600.0, 60.0)
        self.paint(Scene("warm", "", times, times))

    def paint(self, scene: Scene) -> bytes:
        """The PNG."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with self._turn, np.errstate(over="ignore"):  # what overflows is out of view
            if self._glyphs is None:
                self._glyphs = _glyphs()
            figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
            canvas = FigureCanvasAgg(figure)
            axes = figure.add_axes((0.15, 0.165, 0.8, 0.665))
            worth, sign = _scale(scene)
            _draw(axes, scene, worth)
            self._titles(figure, scene)
            self._frame(axes, sign)
            _key(figure, scene)
            canvas.draw()  # type: ignore[no-untyped-call]  # not typed there
            return _png(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]  # the same

    def _titles(self, figure: Any, scene: Scene) -> None:
        title, subtitle = self._plain(scene.title, MOST_TITLE), self._plain(scene.subtitle, MOST_SUBTITLE)
        shown = {"family": _FONT, "parse_math": False, "va": "baseline", "ha": "left"}
        figure.text(0.02, 0.93, title, fontsize=13, fontweight="bold", color=INK, **shown)
        figure.text(0.02, 0.868, subtitle, fontsize=9, color=QUIET, **shown)

    def _frame(self, axes: Any, sign: str) -> None:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        locator = AutoDateLocator(tz=self._zone, minticks=3, maxticks=7)  # type: ignore[no-untyped-call]  # not typed there
        concise = ConciseDateFormatter(locator, tz=self._zone, show_offset=False)  # type: ignore[no-untyped-call]  # the same
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(concise)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}{sign}"))
        axes.tick_params(colors=QUIET, labelsize=9, length=0, pad=6, labelfontfamily=_FONT)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.figure.text(
            0.98, 0.028, str(self._zone).rpartition("/")[2], ha="right", fontsize=8, color=QUIET, family=_FONT
        )

    def _plain(self, text: str, most: int) -> str:
        """One line of characters that the font has: others would be a warning, and boxes all the same."""
        assert self._glyphs is not None
        line = " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 4 * most]).split())
        shown = "".join(c if ord(c) in self._glyphs else _TOFU for c in line)
        return shown if len(shown) <= most else shown[: most - 1] + "…"


def _key(figure: Any, scene: Scene) -> None:
    """Which line is which, below the axis."""
    entries = [("— measured", OWN)] if scene.values.size else []
    if (path := scene.ahead or scene.expected) is not None:
        share = f", {100 * (path.levels[-1] - path.levels[0]):.0f} % band" if len(path.levels) > 1 else ""
        entries.append((f"— expected{share}", MEDIAN))
    if scene.others:
        entries.append(("— others", QUIET))
    for place, (text, colour) in zip((0.02, 0.22, 0.56), entries, strict=False):
        figure.text(place, 0.028, text, fontsize=8, color=colour, family=_FONT)


def _draw(axes: Any, scene: Scene, worth: float) -> None:
    times = _days(scene.times)
    for path, strength in ((scene.expected, 0.16), (scene.ahead, 0.34)):
        if path is not None:
            _band(axes, path, strength, worth)
    for values in scene.others:
        axes.plot(times, values / worth, color=OTHERS, linewidth=0.9, zorder=4)
    if scene.limit is not None:
        _limit(axes, scene, worth)
    if scene.values.size:
        axes.plot(times, scene.values / worth, color=OWN, linewidth=1.9, zorder=6, solid_joinstyle="round")
        if np.isfinite(scene.values[-1]):
            axes.plot(times[-1:], scene.values[-1:] / worth, "o", color=OWN, markersize=5, zorder=7)
    end = scene.times[-1] if scene.ahead is None else max(scene.ahead.reach, scene.times[-1])
    axes.set_xlim(times[0], (end + 0.012 * (end - scene.times[0])) / DAY)
    axes.set_ylim(*_limits(scene, worth))
    axes.axvline(times[-1], color=QUIET, linewidth=0.9, linestyle=(0, (3, 3)), zorder=3)
    mark: Any = {"textcoords": "offset points", "fontsize": 8, "color": QUIET, "family": _FONT, "ha": "right"}
    axes.annotate("now", (times[-1], 1), xycoords=("data", "axes fraction"), xytext=(-3, -6), **mark)


def _band(axes: Any, path: Path, strength: float, worth: float) -> None:
    times, values = _days(path.times), path.values / worth
    if values.shape[1] > 1:
        low, high = values[:, 0], values[:, -1]
        axes.fill_between(times, low, high, color=BAND, alpha=strength, linewidth=0, zorder=2)
    if (median := path.level(0.5)) is not None:
        style = {"linewidth": 1.7} if strength > 0.2 else {"linewidth": 0.9, "linestyle": (0, (4, 2)), "alpha": 0.8}
        axes.plot(times, median / worth, color=MEDIAN, zorder=5, **style)


def _limit(axes: Any, scene: Scene, worth: float) -> None:
    if isinstance(scene.limit, np.ndarray):
        axes.plot(_days(scene.times), scene.limit / worth, color=LIMIT, linewidth=1.2, zorder=5)
        known = scene.limit[np.isfinite(scene.limit)]
        if not known.size:
            return
        height = float(known[-1])
    else:
        assert scene.limit is not None
        height = scene.limit
        axes.axhline(height / worth, color=LIMIT, linewidth=1.2, zorder=5)
    text = {1: "fires above ", -1: "fires below "}.get(scene.beyond, "") + scene.unit.text(height)
    axes.annotate(
        text,
        (0.006, height / worth),
        xycoords=("axes fraction", "data"),
        xytext=(0, -3 if scene.beyond < 0 else 3),
        textcoords="offset points",
        va="top" if scene.beyond < 0 else "bottom",
        fontsize=8.5,
        color=LIMIT,
        family=_FONT,
        zorder=8,
        annotation_clip=True,
    )


def _seen(scene: Scene) -> NDArray[np.float64]:
    """Everything that must be in view."""
    parts = [scene.values, *scene.others, *(path.values.ravel() for path in (scene.expected, scene.ahead) if path)]
    if scene.limit is not None:
        parts.append(np.atleast_1d(np.asarray(scene.limit, np.float64)))
    seen = np.concatenate([np.empty(0), *parts])
    return np.asarray(seen[np.abs(seen) < HUGE], np.float64)  # nor NaN


def _days(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """matplotlib's dates: days since 1970."""
    return times / DAY


def _limits(scene: Scene, worth: float) -> tuple[float, float]:
    seen = _seen(scene) / worth
    if not seen.size:
        return 0.0, 1.0
    low, high = float(seen.min()), float(seen.max())
    room = 0.09 * (high - low) or 0.1 * abs(high) or 1.0
    # What is never negative and comes near to 0 stands on it.
    floor = 0.0 if 0 <= low < 0.5 * high else low - room
    return floor, high + room


def _scale(scene: Scene) -> tuple[float, str]:
    seen = np.abs(_seen(scene))
    scale = scene.unit.scale(float(seen.max()) if seen.size else 1.0)
    return scale.worth, scale.sign


def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(_FONT)).get_charmap())


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Few colours, since a phone on a bad line loads it. Octree and level 6: a third of the CPU time for 10 % more."""
    from PIL import Image

    image = Image.fromarray(pixels).convert("RGB")
    image = image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)
    return file.getvalue()
