"""What docs/future.md says: every recipe answers on a real Prometheus."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

import yaml

from cloudpulse.local import programs
from cloudpulse.names import definitions
from forecaster.remoteread import advice
from tests.forecaster.remoteread.conftest import Future

TEXT = (Path(__file__).parents[3] / "docs" / "future.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_every_recipe_answers(future: Future) -> None:
    """For each app, or for all of them together."""
    recipes = blocks("promql")
    assert len(recipes) >= 5
    for recipe in recipes:
        at = future.start if "forecast" in recipe else future.start - 60
        found = future.instant(recipe, at)
        assert found.keys() in ({"shop", "search"}, {""}), recipe
        assert all(math.isfinite(value) for value in found.values()), recipe


def test_the_numbers_of_the_recipes_are_those_of_the_path(future: Future) -> None:
    _, _, highest, _, quietest, share, together = (future.instant(recipe) for recipe in blocks("promql"))
    assert highest == {"shop": 360 + 200, "search": 360 + 1200}
    assert 200 <= quietest["shop"] <= 260
    assert abs(share["shop"] - (1440 - 500) / 1440) < 0.01
    assert share["search"] == 1
    assert together == {"": 2 * (60 + 100) + 1000}


def test_the_lines_for_prometheus_are_those_of_check_online() -> None:
    remote_read, _ = (yaml.safe_load(block) for block in blocks("yaml"))
    assert remote_read == yaml.safe_load(advice.LINES)


def test_the_rules_are_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(blocks("yaml")[1])
    subprocess.run([programs.find().promtool, "check", "rules", str(rules)], check=True, timeout=60)


def test_the_series_that_are_named_exist() -> None:
    named = set(re.findall(r"cloudpulse_[a-z0-9_]+", TEXT)) - {"cloudpulse_"}
    assert named <= {definition.name for definition in definitions()}
