"""Which labels belong to which."""

from __future__ import annotations

from scaler.matching import ByLabels


def test_finds_what_has_no_other_labels_and_of_those_the_most() -> None:
    index = ByLabels([({}, 0), ({"a": "1"}, 1), ({"a": "1", "b": "2"}, 2), ({"c": "3"}, 3)], min)
    assert index.of({"a": "1", "b": "2", "z": "9"}) == 2
    assert index.of({"a": "1", "b": "8"}) == 1
    assert index.of({"a": "7"}) == 0
    assert ByLabels([({"a": "1"}, 1)], min).of({"b": "1"}) is None
    assert ByLabels([], min).of({"b": "1"}) is None


def test_of_the_same_labels_one_is_made() -> None:
    assert ByLabels([({"a": "1"}, 5.0), ({"a": "1"}, 3.0)], min).of({"a": "1"}) == 3.0
