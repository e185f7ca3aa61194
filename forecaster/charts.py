"""Charts for an HTML page: SVG without scripts that takes any width, its labels being HTML of a fixed size.

Shapes live in a square of `SIZE` units that is stretched to the page, strokes and labels are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from forecaster.backtest import Floats

SIZE = 1000
_MOST_POINTS = 600
_HOURS = (1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 672)
_PREFIXES = {12: "T", 9: "G", 6: "M", 3: "k"}


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, 0 to 100."""

    percent: float
    text: str


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with ticks in between."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def place(self, values: Floats) -> Floats:
        """Into units of SIZE from the low end."""
        return (values - self.low) / (self.high - self.low) * SIZE


@dataclass(frozen=True)
class Shape:
    """A path; `kind` is its CSS class."""

    kind: str
    path: str


@dataclass(frozen=True)
class Chart:
    """Shapes over two axes; `title` says in words what is drawn."""

    title: str
    x: Axis
    y: Axis
    shapes: tuple[Shape, ...]


def line(kind: str, x: Axis, y: Axis, xs: Floats, ys: Floats) -> Shape:
    """A line that breaks where `ys` is NaN; a run of many points keeps its lowest and highest of each stretch."""
    xs, ys = _thinned(xs, ys)
    return Shape(kind, "".join(_strokes(x.place(xs), SIZE - y.place(ys))))


def area(kind: str, x: Axis, y: Axis, xs: Floats, low: Floats, high: Floats) -> Shape:
    """What lies between two lines, for known values only."""
    every = max(1, len(xs) // (_MOST_POINTS // 2))
    kept = np.flatnonzero(~np.isnan(low) & ~np.isnan(high))
    kept = np.unique(np.append(kept[::every], kept[-1:]))
    there, back = x.place(xs[kept]), x.place(xs[kept])[::-1]
    tops, bottoms = SIZE - y.place(high[kept]), (SIZE - y.place(low[kept]))[::-1]
    points = [*_pairs(there, tops), *_pairs(back, bottoms)]
    return Shape(kind, f"M{'L'.join(points)}Z" if len(kept) else "")


def bars(kind: str, x: Axis, begins: Floats, ends: Floats, top: float, bottom: float) -> Shape:
    """Boxes from `begins` to `ends` between two heights (shares of the chart from the top), each wide enough to see."""
    left, right = x.place(begins), np.maximum(x.place(ends), x.place(begins) + 2)
    first = np.append(True, left[1:] > np.maximum.accumulate(right)[:-1]) if len(left) else np.zeros(0, np.bool_)
    last = np.append(first[1:], True)[: len(first)]
    spans = zip(left[first].tolist(), np.maximum.accumulate(right)[last].tolist(), strict=True)
    upper, lower = top * SIZE, bottom * SIZE
    return Shape(kind, "".join(f"M{a:.1f} {upper:g}H{b:.1f}V{lower:g}H{a:.1f}Z" for a, b in spans))


def dots(kind: str, x: Axis, y: Axis, xs: Floats, ys: Floats) -> Shape:
    """Points: strokes without a length, which a round cap makes dots at any scale."""
    known = ~np.isnan(ys)
    return Shape(kind, "".join(f"M{pair}h0" for pair in _pairs(x.place(xs[known]), SIZE - y.place(ys[known]))))


def number_axis(values: Floats, zero: bool = False, percent: bool = False) -> Axis:
    """An axis from a round number at or under all `values` to one at or above; with `zero` it begins at 0."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    low = min(low, 0.0) if zero else low
    if high <= low:
        low, high = low - (abs(low) / 2 or 0.5) * (not zero), high + (abs(high) / 2 or 0.5)
    step = _round_step((high - low) / 4)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    marks = [low + i * step for i in range(round((high - low) / step) + 1)]
    texts = [f"{mark:.0%}" if percent else compact(mark) for mark in marks]
    return Axis(low, high, _ticks(low, high, marks, texts))


def time_axis(start: float, end: float) -> Axis:
    """Unix seconds, with up to seven ticks at round UTC times."""
    step = next((h for h in _HOURS if (end - start) / 3600 / h <= 7), _HOURS[-1]) * 3600
    marks = [mark for i in range(9) if (mark := (start // step + 1 + i) * step) <= end]
    style = "%d %b" if step >= 86400 else "%d %b %H:%M"
    texts = [datetime.fromtimestamp(mark, UTC).strftime(style).lstrip("0") for mark in marks]
    return Axis(start, end, _ticks(start, end, marks, texts))


def lead_axis(step: float, steps: int) -> Axis:
    """Seconds ahead, from the first of `steps` to the last."""
    end = step * steps
    unit, name = (3600, "h") if end >= 3 * 3600 else (60, "min")
    if end > 4 * 86400:
        unit, name = 86400, "d"
    size = max(1.0, _round_step(end / unit / 6)) if unit != 3600 else _hours(end / 3600 / 6)
    marks = [mark for i in range(12) if (mark := (i + 1) * size * unit) <= end]
    low = min(step, end - 1e-9) if steps > 1 else 0.0
    return Axis(low, end, _ticks(low, end, marks, [f"{mark / unit:g} {name}" for mark in marks]))


def compact(value: float) -> str:
    """A number short enough for an axis: 1.5k, 20M, 0.05."""
    for power, prefix in _PREFIXES.items():
        if abs(value) >= 10**power:
            return f"{value / 10**power:.3g}{prefix}"
    return f"{value:.3g}" if abs(value) > 1e-12 else "0"


def _ticks(low: float, high: float, marks: Sequence[float], texts: Sequence[str]) -> tuple[Tick, ...]:
    return tuple(Tick(round((m - low) / (high - low) * 100, 2), text) for m, text in zip(marks, texts, strict=True))


def _round_step(least: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def _hours(least: float) -> float:
    return next((float(h) for h in _HOURS if h >= least), float(_HOURS[-1]))


def _thinned(xs: Floats, ys: Floats) -> tuple[Floats, Floats]:
    if len(xs) <= _MOST_POINTS:
        return xs, ys
    kept: list[int] = []
    for piece in np.array_split(np.arange(len(xs)), _MOST_POINTS // 2):
        known = piece[~np.isnan(ys[piece])]
        if not len(known):
            kept.append(int(piece[0]))
        else:
            kept += sorted({int(known[ys[known].argmin()]), int(known[ys[known].argmax()])})
    return xs[kept], ys[kept]


def _strokes(xs: Floats, ys: Floats) -> Iterator[str]:
    pen = "M"
    for pair, known in zip(_pairs(xs, ys), ~np.isnan(ys), strict=True):
        if known:
            yield f"{pen}{pair}"
        pen = "L" if known else "M"


def _pairs(xs: Floats, ys: Floats) -> list[str]:
    return [f"{x:.1f} {y:.1f}" for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]
