"""Made-up series: daily shapes, batch jobs, weeks, drift, bursts, shifts and noise, put together at random.

Recorded series are few; what a network learns of them alone doesn't carry over to a service of another kind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def series(days: int, day: int, random: np.random.Generator) -> Values:
    """`days` days of `day` steps each."""
    length = days * day
    values = _seasons(days, day, random) + _noise(length, random)
    for part, odds in ((_pulses, 0.3), (_shifts, 0.3), (_bursts, 0.3), (_trend, 0.15)):
        if random.random() < odds:
            values = values + part(length, random)
    return _marginal(values, random)


def _seasons(days: int, day: int, random: np.random.Generator) -> Values:
    """The same shape every day, quieter at weekends in some series."""
    shape = _jobs(day, random) if random.random() < 0.3 else _wave(day, random)
    week = np.where((np.arange(days) + random.integers(7)) % 7 >= 5, 1 - random.choice([0, 0, 0.3, 0.7]), 1.0)
    return np.asarray(random.choice([0, 0.3, 1, 2, 3]) * (week[:, None] * shape).ravel(), np.float64)


def _wave(day: int, random: np.random.Generator) -> Values:
    """A random walk that comes back to where it began, smoothed over some minutes to some hours."""
    walk = np.cumsum(random.normal(size=day))
    walk -= np.linspace(walk[0], walk[-1], day)
    span = int(random.choice([1, 6, 24, 48]) * day / 288) or 1
    smooth = np.convolve(np.tile(walk, 3), np.ones(span) / span, "same")[day : 2 * day]
    return np.asarray((smooth - smooth.mean()) / (smooth.std() + 1e-9), np.float64)


def _jobs(day: int, random: np.random.Generator) -> Values:
    shape = np.zeros(day)
    for _ in range(random.integers(1, 5)):
        begin = random.integers(0, day)
        shape[begin : begin + random.integers(1, max(2, day // 12))] += random.uniform(0.5, 2)
    return shape


def _noise(length: int, random: np.random.Generator) -> Values:
    """First-order autoregression of some memory, heavy-tailed in some series, and white noise on top."""
    memory = float(random.choice([0, 0.8, 0.95, 0.99, 0.999]))
    kicks = random.normal(size=length) if random.random() < 0.6 else random.standard_t(3, size=length)
    drift, value = np.empty(length), 0.0
    for i, kick in enumerate(kicks.tolist()):
        value = memory * value + kick
        drift[i] = value
    drift *= np.sqrt(1 - memory**2) * random.choice([0.1, 0.3, 1.0])
    return np.asarray(drift + random.choice([0, 0.05, 0.2]) * random.normal(size=length), np.float64)


def _pulses(length: int, random: np.random.Generator) -> Values:
    """A rectangle at a period that is no day."""
    period = int(random.integers(6, 200))
    on = (np.arange(length) + random.integers(period)) % period < max(1, period // int(random.integers(2, 8)))
    return np.asarray(random.choice([0.3, 1.0]) * on, np.float64)


def _shifts(length: int, random: np.random.Generator) -> Values:
    values = np.zeros(length)
    for begin in random.integers(0, length, random.integers(1, 4)):
        values[begin:] += 1.5 * random.normal()
    return values


def _bursts(length: int, random: np.random.Generator) -> Values:
    values = np.zeros(length)
    for begin in random.integers(0, length, random.integers(2, 60)):
        values[begin : begin + random.integers(1, 8)] += 3 * random.exponential()
    return values


def _trend(length: int, random: np.random.Generator) -> Values:
    return np.asarray(np.arange(length) / length * 2 * random.normal(), np.float64)


def _marginal(values: Values, random: np.random.Generator) -> Values:
    """Skewed, cut off at a floor, or counted in whole numbers, as many metrics are."""
    if random.random() < 0.4:
        values = np.exp(0.5 * values)
    if random.random() < 0.2:
        values = np.maximum(values - np.quantile(values, 0.3), 0)
    return np.round(2 * values) if random.random() < 0.1 else values
