"""The threat model: each promise of docs/security.md is held by tests that exist; and those that have no other home."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cloudpulse.local import layout, ports
from cloudpulse.local.programs import Programs

ROOT = Path(__file__).parent.parent
PACKAGES = ("cloudpulse", "exporter", "forecaster", "alert_bridge", "scaler")
UNPICKLERS = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def promises() -> list[tuple[str, list[str]]]:
    """Each row below "Promises", and the tests in its last cell."""
    text = (ROOT / "docs" / "security.md").read_text().partition("\n## Promises\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    told = [row for row in rows if row[0].strip("| ") in tuple("STRIDE")]
    return [(row[1], re.findall(r"`([\w./]+::\w+)`", row[-1])) for row in told]


def test_every_promise_has_a_test_and_every_test_exists() -> None:
    found = promises()
    text = (ROOT / "docs" / "security.md").read_text()
    assert len(found) == len(re.findall(r"^\| [STRIDE] \|", text, re.MULTILINE)) > 40
    assert [promise for promise, tests in found if not tests] == []
    named = {test for _, tests in found for test in tests}
    assert named == set(re.findall(r"`([\w./]+::\w+)`", text)), "a test stands behind a promise"
    known = {f"{place}::{name}" for place in {one.partition("::")[0] for one in named} for name in _known(place)}
    assert sorted(named - known) == []


def _known(place: str) -> set[str]:
    path = ROOT / "tests" / place
    tree = ast.parse(path.read_text() if path.exists() else "")
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_in_the_services_unpickles(package: str) -> None:
    """torch.load and numpy's allow_pickle would, as well."""
    for path in (ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {name.partition(".")[0] for name in names} & UNPICKLERS == set(), path
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert "torch.load" not in {ast.unparse(call.func) for call in calls}, path
        assert "allow_pickle" not in {keyword.arg for call in calls for keyword in call.keywords}, path


def test_every_part_of_the_local_stack_listens_on_loopback(tmp_path: Path) -> None:
    programs = Programs("prometheus", "promtool", "alertmanager")
    for part in layout.parts(programs, ports.DEFAULTS, tmp_path, with_demo=False):
        words = [word for argument in part.argv for word in str(argument).split("=")]
        listening = words[words.index("--web.listen-address") + 1]
        assert re.fullmatch(r"127\.0\.0\.1:\d+", listening), part.name


def test_the_image_runs_as_a_user_of_its_own() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    user = [line.split()[1] for line in lines if line.startswith("USER ")][-1]
    assert user not in ("root", "0")
    assert lines.index(f"USER {user}") < next(i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT"))


def test_every_package_that_is_installed_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {canonicalize_name(Requirement(one).name) for one in wanted} - {"cloudpulse"}
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line]
    assert all([one.operator for one in pin.specifier] == ["=="] for pin in pins)
    assert names <= {canonicalize_name(pin.name) for pin in pins}
    for how in ("Makefile", "Dockerfile"):
        installs = [line for line in (ROOT / how).read_text().splitlines() if re.search(r"pip install\b", line)]
        assert installs
        assert all("--constraint constraints.txt" in line for line in installs), how
