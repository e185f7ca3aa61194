"""Prometheus' JSON answers, read from the raw bytes: https://prometheus.io/docs/prometheus/latest/querying/api/."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloudpulse.yielding import with_rests

Samples = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Times in Unix seconds, and values."""


_ABSENT = msgspec.Raw(b"")


class Item(msgspec.Struct):
    """One series of a matrix; where all its samples are native histograms, it has none."""

    metric: dict[str, str]
    values: msgspec.Raw = msgspec.Raw(b"[]")

    def samples(self) -> Samples:
        """Times and values. Raises ValueError."""
        return samples(self.values)


class _Point(msgspec.Struct, gc=False):
    """One series of a vector; a native histogram has no value."""

    metric: dict[str, str]
    value: tuple[float, str] | msgspec.UnsetType = msgspec.UNSET


class _Peak(msgspec.Struct):
    peakSamples: int  # noqa: N815  Prometheus' word


class _Stats(msgspec.Struct):
    samples: _Peak


class Data(msgspec.Struct):
    """What a successful answer holds."""

    resultType: str  # noqa: N815  Prometheus' word
    result: msgspec.Raw
    stats: msgspec.Raw = _ABSENT

    def matrix(self) -> list[Item]:
        """The series of a matrix. Raises ValueError."""
        return msgspec.json.decode(self.result, type=list[Item])

    def vector(self) -> list[tuple[dict[str, str], float]]:
        """The labels and values of a vector, without native histograms. Raises ValueError.

        Read one by one, and with rests: msgspec keeps all other threads waiting, 10 ms for 10,000 series at once.
        """
        points = map(_POINT_DECODER.decode, with_rests(_RAWS_DECODER.decode(self.result)))
        return [(one.metric, float(one.value[1])) for one in points if one.value is not msgspec.UNSET]

    @property
    def peak_samples(self) -> int | None:
        """The most samples that Prometheus held at once for it, which is what its own limit is about.

        None where it doesn't say: only when asked with `stats`, and other servers have other statistics.
        """
        try:
            return msgspec.json.decode(self.stats, type=_Stats).samples.peakSamples
        except msgspec.DecodeError:
            return None


class Answer(msgspec.Struct):
    """Any answer."""

    status: str
    data: Data | None = None
    error: str = ""
    errorType: str = ""  # noqa: N815  Prometheus' word


_RAWS_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
_POINT_DECODER = msgspec.json.Decoder(_Point)
_NUMBERS = b"0123456789.eE+-"
_NUMBERS_DECODER = msgspec.json.Decoder(list[float])
_PAIRS_DECODER = msgspec.json.Decoder(list[tuple[float, str]])


def samples(array: msgspec.Raw) -> Samples:
    """Of `[[1700000000,"1.5"],…]`; NaN, +Inf and -Inf as Prometheus writes them.

    `array` is valid JSON, as msgspec found it in an answer. Raises ValueError when it is anything else.
    """
    text = bytes(array)
    plain = _plain_samples(text)
    return plain if plain is not None else _any_samples(text)


def _plain_samples(text: bytes) -> Samples | None:
    """The same without an object for every sample, 4 times as fast; None unless all is compact and finite.

    What is left of valid JSON without its digits shows that it is made of `[number,"number"]` and nothing else;
    without its brackets and quotes it is then a flat JSON array, which msgspec reads as strictly as any.
    """
    skeleton = text.translate(None, _NUMBERS)
    count = len(skeleton) // 6  # of `[,""],`, the last without its comma, and two brackets around
    if count < 1 or skeleton != b"[" + (b'[,""],' * count)[:-1] + b"]":
        return None
    try:
        numbers = np.array(_NUMBERS_DECODER.decode(b"[" + text.translate(None, b'[]"') + b"]"))
    except msgspec.DecodeError:
        return None
    return numbers[::2].copy(), numbers[1::2].copy()


def _any_samples(text: bytes) -> Samples:
    pairs = _PAIRS_DECODER.decode(text)
    values = [float(value) for _, value in pairs]  # reads NaN, +Inf and -Inf as Go writes them
    return np.array([time for time, _ in pairs], np.float64), np.array(values, np.float64)
