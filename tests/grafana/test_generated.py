"""The committed JSON is what the code makes, and Grafana's own model of a dashboard knows everything in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import common, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard, FieldConfig

from grafana import __main__
from grafana.board import rendered
from grafana.boards import BOARDS
from grafana.expressions import panels
from tests.grafana.saved import DASHBOARDS

UNKNOWN = {"titleFormat", "textFormat", "tagKeys", "step", "hideTimeOverride"}
"""What the SDK's model leaves out: the Prometheus data source's words of an annotation, and one of a panel."""


def test_the_committed_dashboards_are_what_the_code_makes() -> None:
    """After a change of the code: `make dashboards`."""
    made = {board.name: json.loads(rendered(board)) for board in BOARDS}
    assert DASHBOARDS.keys() == made.keys()
    for name, board in made.items():
        assert DASHBOARDS[name] == board, f"{name}: run `make dashboards`"


def test_the_command_writes_every_board_as_it_is_rendered_and_removes_what_is_no_longer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "FOLDER", tmp_path)
    (tmp_path / "gone.json").write_text("{}")
    __main__.main()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        f"{board.name}.json": rendered(board) for board in BOARDS
    }


def test_the_same_board_is_rendered_the_same_twice() -> None:
    assert [rendered(board) for board in BOARDS] == [rendered(board) for board in BOARDS]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafanas_own_model_reads_a_dashboard_and_loses_nothing_of_it(name: str) -> None:
    """There is no JSON Schema of the classic dashboard in the SDK's packages; its model is generated from Grafana's.

    What the model doesn't know it drops, so a word that is misspelt or of another version is missing afterwards.
    """
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(DASHBOARDS[name]), cls=JSONEncoder))
    lost = set(leaves(DASHBOARDS[name])) - set(leaves(read))
    assert {path for path, _ in lost if path.rsplit(".")[-1] not in UNKNOWN} == set()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafana_from_10_on_reads_a_dashboard_without_bringing_it_up_first(name: str) -> None:
    """36 is what the SDK writes for Grafana 10; a later Grafana brings it up to its own when it loads it."""
    assert DASHBOARDS[name]["schemaVersion"] == 36
    assert "id" not in DASHBOARDS[name]
    assert "__inputs" not in DASHBOARDS[name]


def test_a_word_that_the_model_does_not_know_would_be_found() -> None:
    register_default_plugins()
    whole = json.loads(json.dumps(DASHBOARDS["overview"]))
    whole["panels"][0]["fieldConfig"]["defaults"]["unti"] = "s"
    read = json.loads(json.dumps(Dashboard.from_json(whole), cls=JSONEncoder))
    assert ".panels.0.fieldConfig.defaults.unti" in {path for path, _ in set(leaves(whole)) - set(leaves(read))}


def test_an_override_sets_what_the_panel_has_to_a_value_of_its_shape() -> None:
    """Overrides are free text to the model of a dashboard, so each is read by the model of what it changes."""
    custom = {"timeseries": timeseries.FieldConfig, "table": common.TableFieldOptions}
    checked = set()
    for panel in (panel for board in DASHBOARDS.values() for panel in panels(board)):
        for override in panel["fieldConfig"]["overrides"]:
            for one in override["properties"]:
                own = one["id"].removeprefix("custom.")
                model = FieldConfig if own == one["id"] else custom[panel["type"]]
                read = json.loads(json.dumps(model.from_json({own: one["value"]}), cls=JSONEncoder))
                assert set(leaves({own: one["value"]})) <= set(leaves(read)), f"{panel['title']}: {one}"
                checked.add(one["id"])
    assert checked >= {"unit", "links", "thresholds", "custom.fillBelowTo", "custom.lineStyle", "custom.width"}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value with its path."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if not parts:
        yield path, json.dumps(value)
        return
    for key, part in parts:
        yield from leaves(part, f"{path}.{key}")
