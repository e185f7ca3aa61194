"""Verdicts: where a forecast wins against seasonal naive, where it loses, and what was measured there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cloudpulse.durations import format_duration
from forecaster import traits
from forecaster.backtest import Floats
from forecaster.evaluation import Result
from forecaster.traits import Traits

Tone = Literal["good", "even", "bad", ""]
"""How a figure is to be taken; nothing where it isn't known."""

SHOWN = 3
"""Series at each end that are spelled out."""
_STRONG, _WEAK = 0.5, 0.1
_MISSING, _MOVED, _BIASED = 0.02, 0.5, 0.5
_STEADY, _RESTLESS = 0.95, 0.3
_SHORT_DAYS = 2.0
_LEVEL_WITH, _CALIBRATED = 0.05, 0.05
_MOST_FACTS = 3


@dataclass(frozen=True)
class Verdict:
    """One series: its row, its MASE up to the longest horizon, and facts in words."""

    row: int
    mase: float
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Verdicts:
    """Best first where it wins, worst first where it loses; a MASE of exactly 1 is neither."""

    wins: tuple[Verdict, ...]
    losses: tuple[Verdict, ...]
    middle: int | None  # row of the series with the median MASE
    facts: tuple[tuple[str, ...], ...]  # of every series


def judge(result: Result) -> Verdicts:
    """Compare by MASE up to the longest horizon."""
    figures = result.figures[-1]
    mase = figures.mase
    described = traits.describe(result.study.frame)
    moved = np.stack([traits.shifts(result.study.frame, result.study.history, one) for one in result.windows], 1)
    facts = tuple(tuple(_facts(described, moved[i], float(figures.bias[i]), i)) for i in range(len(mase)))
    order = [int(i) for i in np.argsort(mase, kind="stable") if not np.isnan(mase[i])]
    verdicts = [Verdict(i, float(mase[i]), facts[i]) for i in order]
    return Verdicts(
        wins=tuple(one for one in verdicts[:SHOWN] if one.mase < 1),
        losses=tuple(one for one in verdicts[: -SHOWN - 1 : -1] if one.mase > 1),
        middle=order[(len(order) - 1) // 2] if order else None,
        facts=facts,
    )


def tone(ratio: float) -> Tone:
    """A loss over seasonal naive's: within 5 % neither is better."""
    if np.isnan(ratio):
        return ""
    return "good" if ratio < 1 - _LEVEL_WITH else "bad" if ratio > 1 + _LEVEL_WITH else "even"


def calibration(levels: Sequence[float], band: float) -> tuple[Tone, str]:
    """The share that the outermost levels held against what they promise, in a word."""
    promised = levels[-1] - levels[0]
    if np.isnan(band) or promised <= 0:
        return "", ""
    if abs(band - promised) <= _CALIBRATED:
        return "good", "about right"
    return ("even", "wider than needed") if band > promised else ("bad", "too narrow")


def against_naive(ratio: float) -> str:
    """A loss over seasonal naive's in words, such as `19% less`; a dash where it isn't known."""
    if np.isnan(ratio):
        return "-"
    change = f"{abs(ratio - 1):.0%}"
    return "the same" if change == "0%" else f"{change} {'less' if ratio < 1 else 'more'}"


def _facts(known: Traits, moved: Floats, bias: float, i: int) -> list[str]:
    """What may explain how the series fared, the weightiest first."""
    if known.constant[i]:
        return ["constant: nothing to forecast"]
    facts = []
    if known.span[i] < _SHORT_DAYS * 86400:
        facts.append(f"only {format_duration(float(known.span[i]))} known: too little to learn a day from")
    if known.gaps[i] > _MISSING:
        facts.append(f"{known.gaps[i]:.0%} of its steps are missing")
    if (far := np.abs(moved) > _MOVED).any():
        facts.append(
            f"the level shifted after {far.sum()} of {len(moved)} origins, by up to "
            f"{np.nanmax(np.abs(moved)):.1f} of its 10-90% range"
        )
    facts += _shape(known, i)
    if abs(bias) > _BIASED:
        side = "high" if bias > 0 else "low"
        facts.append(f"forecasts too {side} by {abs(bias):.1f} of seasonal naive's error")
    if not facts:
        shape = "" if np.isnan(known.daily[i]) else f" (daily shape {known.daily[i]:.0%} of variance)"
        facts.append(f"nothing unusual{shape}")
    return facts[:_MOST_FACTS]


def _shape(known: Traits, i: int) -> list[str]:
    daily, weekly, memory = known.daily[i], known.weekly[i], known.memory[i]
    facts = []
    if daily >= _STRONG:
        facts.append(f"strong daily shape ({daily:.0%} of variance)")
    elif daily <= _WEAK and memory < _RESTLESS:
        facts.append(f"near noise: daily shape {daily:.0%} of variance, correlation from step to step {memory:.2f}")
    elif daily <= _WEAK:
        facts.append(f"hardly a daily shape ({daily:.0%} of variance)")
    if weekly >= _WEAK:
        facts.append(f"the day of the week explains {weekly:.0%} more")
    if memory >= _STEADY and not daily >= _STRONG:
        facts.append(f"each step is close to the one before (correlation {memory:.2f})")
    return facts
