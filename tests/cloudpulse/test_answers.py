from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudpulse.answers import Data, samples

TIMES = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
VALUES = st.one_of(st.floats(), st.integers(-(10**25), 10**25).map(float))


def go(value: float) -> str:
    """A value as Prometheus writes it."""
    text = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(repr(value), repr(value))
    return text.removesuffix(".0")


@given(st.lists(st.tuples(TIMES, VALUES)), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_every_sample_comes_back_to_the_last_bit(pairs: list[tuple[float, float]], separators: tuple[str, str]) -> None:
    text = json.dumps([[time, go(value)] for time, value in pairs], separators=separators).encode()
    times, values = samples(msgspec.Raw(text))
    np.testing.assert_array_equal(times, [time for time, _ in pairs])
    np.testing.assert_array_equal(values, [value for _, value in pairs])
    assert times.dtype == values.dtype == np.float64


@given(
    st.text(alphabet='[]",0123456789.eE+-NaInf {}', max_size=12),
    st.integers(0, 40),
    st.sampled_from([b'[[1700000000,"1.5"],[1700000300,"-2e-07"]]', b'[[1,"2"]]']),
)
def test_what_is_damaged_is_read_as_strictly_as_what_is_not(rubbish: str, place: int, good: bytes) -> None:
    """Whichever way it is read: only pairs of a number and a text that is a number are samples."""
    damaged = good[:place] + rubbish.encode() + good[place:]
    try:
        pairs = msgspec.json.decode(damaged, type=list[tuple[float, str]])
        expected = [(time, float(value)) for time, value in pairs]
    except (msgspec.DecodeError, ValueError):
        with pytest.raises(ValueError):
            samples(msgspec.json.decode(damaged, type=msgspec.Raw))
    else:
        times, values = samples(msgspec.Raw(damaged))
        np.testing.assert_array_equal(np.column_stack([times, values]), np.array(expected).reshape(-1, 2))


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ({"timings": {}, "samples": {"totalQueryableSamples": 9, "peakSamples": 7}}, 7),
        ({"timings": {}}, None),
        ({"seriesFetched": "1"}, None),
        ([1], None),
    ],
)
def test_statistics_of_other_servers_are_passed_over(stats: object, expected: int | None) -> None:
    text = json.dumps({"resultType": "matrix", "result": [], "stats": stats})
    assert msgspec.json.decode(text, type=Data).peak_samples == expected
