from __future__ import annotations

import numpy as np

from forecaster.model import label_key
from forecaster.naming import named

LABELS = ({"__name__": "m", "app": "a"}, {"app": "b"}, {"__name__": "n", "app": "a"})


def test_series_are_called_by_their_labels_without_the_metric_name() -> None:
    all_of_them = named(LABELS)
    assert all_of_them.own == ({"app": "a"}, {"app": "b"}, {"app": "a"})
    assert all_of_them.keys == tuple(label_key(labels) for labels in all_of_them.own)
    assert all_of_them.keys[0] == all_of_them.keys[2]


def test_some_series_are_called_the_same_as_among_all() -> None:
    some = named(LABELS).at(np.array([1, 2]))
    assert some == named(LABELS[1:])
    whole = named(LABELS)
    assert whole.at(np.arange(3)) is whole, "nothing is made anew"
