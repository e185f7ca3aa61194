"""What `check --online` says about the config of a Prometheus."""

from __future__ import annotations

import pytest
import yaml

from cloudpulse import share
from cloudpulse.config import PrometheusSettings
from cloudpulse.promql import Prometheus
from cloudpulse.testing import FakeClock, FakeSource, query_api, serving
from forecaster.remoteread import advice
from tests.forecaster.remoteread.conftest import Future

OURS = yaml.safe_load(advice.LINES)["remote_read"][0]


def found(*entries: dict[str, object], **tree: object) -> list[tuple[str, str]]:
    text = yaml.safe_dump({**tree, "remote_read": list(entries)} if entries else tree)
    return [(one.grade, one.text) for one in advice.findings(text)]


def test_without_remote_read_the_lines_are_given_to_paste() -> None:
    for text in ("global: {}\n", "remote_read:\n", "remote_read: [{url: 'http://old:9009/api/v1/read'}]"):
        (one,) = advice.findings(text)
        assert (one.grade, one.block) == ("note", advice.LINES)


def test_the_lines_to_paste_are_right_and_those_of_the_local_stack() -> None:
    (one,) = found(OURS, **{"global": {"external_labels": {"cluster": "x"}}})
    assert one[0] == "ok"
    (local,) = yaml.safe_load(share.path("prometheus", "prometheus.yml").read_text())["remote_read"]
    assert OURS.items() <= local.items()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"read_recent": False}, "read_recent"),
        ({"filter_external_labels": True}, "filter_external_labels"),
        ({"required_matchers": {}}, "required_matchers"),
    ],
)
def test_a_setting_that_hides_the_future_is_a_warning(change: dict[str, object], problem: str) -> None:
    ((grade, text),) = found({**OURS, **change}, **{"global": {"external_labels": {"cluster": "x"}}})
    assert grade == "warn"
    assert problem in text


def test_the_external_labels_matter_only_where_there_are_some() -> None:
    assert [grade for grade, _ in found({**OURS, "filter_external_labels": True})] == ["ok"]


@pytest.mark.parametrize("text", ["", "just text", "[1, 2]", "{", "remote_read: [1"])
def test_nothing_is_said_about_what_is_no_config_of_prometheus(text: str) -> None:
    assert list(advice.findings(text)) == []


def test_a_real_prometheus_tells_its_config(future: Future) -> None:
    """In which Prometheus leaves out what is false."""
    source = Prometheus(PrometheusSettings(url=future.url))
    (one,) = advice.findings(source.configuration())
    source.close()
    assert one.grade == "ok"


def test_a_server_that_tells_no_config_is_not_asked_about_it() -> None:
    with serving(query_api(FakeSource(lambda _: [], FakeClock()))) as url:
        source = Prometheus(PrometheusSettings(url=url))
        assert source.configuration() == ""
        source.close()
    gone = Prometheus(PrometheusSettings(url="http://127.0.0.1:1"))
    assert gone.configuration() == ""
    gone.close()
