from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cloudpulse import names
from cloudpulse.families import columns, label_block, many, one


def test_a_value_of_none_is_left_out() -> None:
    family = many(names.NETWORK_UP, [(("lo",), 1.0), (("eth0",), None)])
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"device": "lo"}, 1.0)]


def test_a_counter_is_named_as_prometheus_client_names_it() -> None:
    family = columns(names.SWAP_IN, [""], [5.0])
    assert (family.name + "_total", family.type) == (names.SWAP_IN.name, "counter")
    assert [sample.name for sample in family.samples] == [names.SWAP_IN.name]


def test_labels_that_need_it_are_escaped_in_what_is_kept() -> None:
    labels = ('a"b\\c\n',)
    for _ in range(2):
        (sample,) = many(names.NETWORK_UP, [(labels, 1.0)]).samples
        assert sample.labels == {"device": labels[0]}


def test_too_few_or_too_many_labels_are_a_mistake() -> None:
    for labels in ((), ("lo", "eth0")):
        with pytest.raises(TypeError):
            many(names.NETWORK_UP, [(labels, 1.0)])


def test_a_block_without_labels_is_nothing() -> None:
    assert label_block({}) == ""
    assert one(names.LOAD1, 1.0).blocks == ("",)


def test_families_do_without_prometheus_client() -> None:
    code = "import sys, cloudpulse.families, cloudpulse.exposition; sys.exit('prometheus_client' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=20, check=False).returncode == 0
