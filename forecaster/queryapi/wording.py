"""Values as Prometheus' JSON has them; written by hand, since a matrix may hold millions of numbers.

What may be large comes in pieces, which are put together once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from forecaster.queryapi.values import Bools, Floats, Key, Raw, Times, Vector


def numbers(values: Floats) -> list[str]:
    """Each value's shortest exact text, as Go writes it in Prometheus' JSON: exponents below 1e-6 and from 1e21 on."""
    if not values.size:
        return []
    encoded = (msgspec.json.encode(values.tolist())[1:-1] + b",").replace(b".0,", b",")
    texts = encoded.decode().split(",")
    texts.pop()
    if b"e" in encoded or b"null" in encoded or b"0.00000" in encoded:
        large = 1e15
        for i in np.flatnonzero(~((np.abs(values) < large) & (np.abs(values) > 1e-3))).tolist():
            texts[i] = number(float(values[i]))
    return texts


def number(value: float) -> str:
    """One of them."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if value and not 1e-6 <= abs(value) < 1e21:
        digits, _, exponent = text.partition("e")
        return f"{digits.removesuffix('.0')}e{exponent}"
    if "e" in text:
        text = np.format_float_positional(value, trim="-")
    return text.removesuffix(".0")


def seconds(time: int) -> str:
    """Unix milliseconds as seconds."""
    whole, part = divmod(abs(time), 1000)
    return f"{'-' if time < 0 else ''}{whole}{f'.{part:03}' if part else ''}"


def point(time: int, value: float) -> bytes:
    """`[time,"value"]`."""
    return f'[{seconds(time)},"{number(value)}"]'.encode()


def labels(key: Key) -> bytes:
    """A set of labels as an object."""
    return msgspec.json.encode(dict(key))


def array(elements: Sequence[bytes]) -> list[bytes]:
    """The pieces of an array."""
    if not elements:
        return [b"[]"]
    pieces = [b","] * (2 * len(elements) + 1)
    pieces[1::2] = elements
    pieces[0], pieces[-1] = b"[", b"]"
    return pieces


def instant(of: Vector, time: int) -> list[bytes]:
    """The elements of a vector at one time."""
    stamp = seconds(time)
    pairs = zip(of.keys, numbers(of.values[:, 0]), strict=True)
    return [b'{"metric":%b,"value":[%b,"%b"]}' % (labels(key), stamp.encode(), text.encode()) for key, text in pairs]


def matrix(keys: Sequence[Key], times: Times, values: Floats, present: Bools) -> list[bytes]:
    """Each series with its samples, by labels."""
    prefixes = np.array([f'"],[{seconds(time)},"' for time in times.tolist()], object)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    parts = []
    for i in order:
        there = present[i]
        all_ = bool(there.all())
        texts = numbers(values[i] if all_ else values[i][there])
        woven: list[str] = [""] * (2 * len(texts))
        woven[::2] = (prefixes if all_ else prefixes[there]).tolist()
        woven[1::2] = texts
        samples = "".join(woven)[3:].encode()
        parts.append(b'{"metric":%b,"values":[%b"]]}' % (labels(keys[i]), samples))
    return parts


def ranges(raws: Sequence[Raw]) -> list[bytes]:
    """Samples as they lie, by series."""
    return [part for raw in raws for part in matrix(raw.keys, raw.times, raw.values, raw.present)]
