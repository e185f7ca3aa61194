"""docs/exporter.md says what there is: every collector, flag and series, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from cloudpulse import config
from cloudpulse.names import definitions
from exporter.__main__ import command
from exporter.config import DEFAULTS, ExporterSettings
from exporter.flags import NODE_EXPORTERS_NAMES

TEXT = (Path(__file__).parents[2] / "docs" / "exporter.md").read_text(encoding="utf-8")
ROWS = {cells[1].strip(" `"): cells for line in TEXT.splitlines() if len(cells := line.split("|")) > 3}


def test_every_series_is_in_it_and_each_that_it_names_exists() -> None:
    ours = {d.name for d in definitions() if d.name.startswith(("cloudpulse_node_", "cloudpulse_exporter_"))}
    assert set(re.findall(r"cloudpulse_(?:node|exporter)_[a-z0-9_]+", TEXT)) == ours


def test_the_labels_of_every_series_are_those_of_the_table() -> None:
    labels = {d.name: d.labels for d in definitions()}
    for line in TEXT.splitlines():
        cells = line.split("|")
        for name in re.findall(r"`(cloudpulse_\w+)`", cells[1] if len(cells) > 3 else ""):
            assert tuple(re.findall(r"`(\w+)`", cells[2])) == labels[name], name


def test_every_flag_is_in_it_and_each_that_it_names_exists() -> None:
    flags = {name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("--")}
    switches = {f"--{no}collector.{name}" for no in ("", "no-") for name in DEFAULTS}
    named = set(re.findall(r"--[a-z][a-z.-]+", TEXT)) - {"--collector.", "--no-collector."}  # those of a NAME
    assert flags - switches - named == set()
    assert {name for name in named if name.startswith(("--collector", "--no-collector", "--path"))} <= flags


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_collector_is_in_it_with_its_default(name: str) -> None:
    default = ROWS[name][2].strip(" *")
    assert default.partition(",")[0] == ("on" if DEFAULTS[name] else "off")


def test_node_exporters_names_are_those_of_the_hints() -> None:
    told = {theirs: name for name in DEFAULTS for theirs in re.findall(r"`(\w+)`", ROWS[name][5]) if theirs != name}
    assert told == NODE_EXPORTERS_NAMES


def test_every_key_of_the_config_is_in_it() -> None:
    keys = set()
    for name in ExporterSettings.__struct_fields__:
        section = getattr(ExporterSettings(), name)
        inner = getattr(section, "__struct_fields__", None)
        keys |= {f"{name}: "} if inner is None else {f"{name}: {{{key}: " for key in inner}
    switches = {f"collectors: {{{name}: " for name in DEFAULTS}
    assert [key for key in keys - switches if key not in TEXT] == []


def test_the_config_in_it_is_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    ours = [block for block in blocks if block.startswith("# cloudpulse.yaml")]
    assert len(ours) == 1
    settings = config.parse(ours[0], Path("c.yaml"), {}).section("exporter", ExporterSettings)
    assert "top" in settings.collectors.on
    for block in blocks:
        yaml.safe_load(block)
