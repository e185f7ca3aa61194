from __future__ import annotations

import pytest

from cloudpulse.errors import BadRequest
from exporter.selection import selected

ENABLED = ("cpu", "disk", "load")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"cpu", "disk", "load"}),
        ("format=text", {"cpu", "disk", "load"}),
        ("collect[]=cpu", {"cpu"}),
        ("collect%5B%5D=cpu&collect[]=load&collect[]=cpu", {"cpu", "load"}),
        ("exclude[]=cpu", {"disk", "load"}),
        ("exclude[]=cpu&exclude[]=disk&exclude[]=load", set()),
    ],
)
def test_a_scrape_gets_what_it_asks_for(query: str, names: set[str]) -> None:
    assert selected(query, ENABLED) == names


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("collect[]=cpu&exclude[]=load", "can't be combined"),
        ("collect[]=gpu", 'no collector is called "gpu", expected one of cpu, disk, load'),
        ("exclude[]=gpu", 'no collector is called "gpu"'),
        ("collect[]=", 'no collector is called ""'),
        ("collect[]=swap", "the collector swap is off, expected one of cpu, disk, load (--collector.swap turns it on)"),
        ("collect[]=" + "x" * 9999, "x" * 40 + "…"),
    ],
)
def test_a_scrape_that_asks_for_what_is_not_there_is_refused(query: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        selected(query, ENABLED)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200
