from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cloudpulse import __version__, cli

ROOT = Path(__file__).parents[2]
SERVICES = ("exporter", "forecaster", "alert_bridge", "scaler")


def _run(
    *arguments: str, code: str = "from cloudpulse.cli import main; main()", place: Path = ROOT
) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=place,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


WITHOUT = "import sys\nsys.modules[{package!r}] = None\nfrom cloudpulse.cli import main\nmain()"
"""None in sys.modules makes an import fail as that of a missing package does."""


def test_help_lists_every_command_and_loads_no_service() -> None:
    code = "import sys\nfrom cloudpulse.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    exit_code, out, err = _run("--help", code=code)
    assert exit_code == 0
    assert all(f"  {name}" in out for name in cli.COMMANDS)
    modules = err.split()
    assert "cloudpulse.cli" in modules
    assert not {*SERVICES, "torch", "pandas", "numpy", "flask", "requests", "psutil"} & set(modules)


def test_a_missing_extra_ends_with_exit_code_2_and_the_line_to_type() -> None:
    exit_code, out, err = _run("exporter", code=WITHOUT.format(package="msgspec"))
    assert (exit_code, out) == (2, "")
    assert err == "cloudpulse: `cloudpulse exporter` needs the package msgspec: pip install 'cloudpulse[all]'\n"


def test_a_missing_extra_is_named_as_pip_knows_it() -> None:
    exit_code, _, err = _run("alert-bridge", code=WITHOUT.format(package="sqlalchemy"))
    assert exit_code == 2
    assert "needs the package sqlalchemy" in err
    assert err.endswith("pip install 'cloudpulse[alert-bridge]'\n")


def test_an_unknown_command_ends_with_exit_code_2() -> None:
    exit_code, out, err = _run("forecastr")
    assert (exit_code, out) == (2, "")
    assert "No such command 'forecastr'" in err


def test_an_unknown_option_ends_with_exit_code_2() -> None:
    assert _run("exporter", "--port", "1")[0] == 2


def test_the_version_is_the_packages() -> None:
    assert _run("--version")[:2] == (0, f"cloudpulse, version {__version__}\n")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_in_the_table_exists(name: str) -> None:
    module, _, attribute = cli.COMMANDS[name][0].partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), click.Command)


def test_check_says_that_a_right_file_is_fine(tmp_path: Path) -> None:
    (tmp_path / "cloudpulse.yaml").write_text("prometheus: {url: 'http://localhost:9090'}\n")
    assert _run("check", place=tmp_path) == (0, "cloudpulse.yaml is fine (prometheus)\n", "")


def test_check_names_the_mistake_on_stderr(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("exporter: {collectors: {cpus: true}}\n")
    exit_code, out, err = _run("check", "--config", str(file))
    assert (exit_code, out) == (2, "")
    assert err == f"cloudpulse: {file}: exporter.collectors: unknown key `cpus`\n"


def test_an_error_reaches_the_terminal_as_text(tmp_path: Path) -> None:
    """It may quote what others wrote; click itself leaves a terminal's sequences out only where none is asked."""
    (tmp_path / "cloudpulse.yaml").write_text('exporter: {"\\e[2J\\x9b2J": 1}\n')
    assert _run("check", place=tmp_path)[2] == "cloudpulse: cloudpulse.yaml: exporter: unknown key `\\x1b[2J\\x9b2J`\n"
