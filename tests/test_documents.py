"""What the documents say is so: paths exist, commands answer, the config blocks are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cloudpulse import config
from cloudpulse.check import KINDS, command
from cloudpulse.cli import COMMANDS, cloudpulse
from cloudpulse.names import definitions

ROOT = Path(__file__).parent.parent
PAGES = tuple(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", *PAGES, "docs/runbooks/README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_in_backticks_or_links_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    quoted = re.findall(r"`([\w./-]+)`", text)
    linked = re.findall(r"\]\(([\w./-]+)\)", text)
    tops = {path.name for path in ROOT.iterdir()}
    paths = [path for path in quoted if "/" in path and path.partition("/")[0] in tops] + linked
    assert paths or document == "docs/notifications.md"  # which is held to the code by a test of its own
    folder = (ROOT / document).parent
    assert [path for path in paths if not (ROOT / path).exists() and not (folder / path).exists()] == []


def test_the_readme_has_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`cloudpulse {name}" not in text] == []


@pytest.mark.parametrize("document", ["README.md", "docs/scaling.md", "docs/alerts.md", "docs/dashboards.md"])
def test_the_series_of_documents_exist(document: str) -> None:
    named = set(re.findall(r"cloudpulse_[a-z0-9_]+", (ROOT / document).read_text()))
    known = {definition.name for definition in definitions()}
    assert named
    assert named <= known


@pytest.mark.parametrize("document", ["README.md", "docs/scaling.md", "docs/alerts.md"])
def test_the_configs_of_documents_are_valid(document: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        if block.startswith("# prometheus.yml\n"):
            (told,) = yaml.safe_load(block)["remote_read"]
            (used,) = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["remote_read"]
            assert told == {key: used[key] for key in told}
            continue
        path = tmp_path / "cloudpulse.yaml"
        path.write_text(block)
        done = CliRunner().invoke(command, ["--config", str(path)])
        assert done.exit_code == 0, done.output


def test_the_example_config_is_valid_as_check_sees_it() -> None:
    assert set(KINDS) == set(config.SECTIONS)
    done = CliRunner().invoke(command, ["--config", str(ROOT / "examples" / "cloudpulse.yaml")])
    assert done.exit_code == 0, done.output
    assert "is fine" in done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(name: str) -> None:
    done = CliRunner().invoke(cloudpulse, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output


def test_compose_runs_commands_that_exist_with_files_that_exist() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    ours = {name: shlex.split(one["command"]) for name, one in services.items() if one.get("build")}
    assert ours.keys() == {"exporter", "forecaster", "alert-bridge", "scaler"}
    for name, (subcommand, option, address, *_) in ours.items():
        assert (subcommand, option) == (name, "--web.listen-address")
        assert address.startswith("127.0.0.1:")
    for one in services.values():
        for mount in one["volumes"]:
            source = mount.partition(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists()
