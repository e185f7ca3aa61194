"""`cloudpulse models`, on versions that real training made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cloudpulse.cli import cloudpulse, main
from cloudpulse.errors import ConfigError
from forecaster.registry import Registry


@pytest.fixture
def trained(bench: Any) -> Any:
    """Versions 1 to 3 of rps."""
    for _ in range(3):
        bench.rounds(2)
        bench.clock.advance(bench.target.train_every)
    return bench


@pytest.fixture
def models(bench: Any, tmp_path: Path) -> Callable[..., Result]:
    path = tmp_path / "cloudpulse.yaml"
    path.write_text(
        f"""
forecaster:
  data_dir: {bench.folder}
  forecasts:
    - name: rps
      query: rps
      step: 5m
      history: 8d
      horizons: [15m, 1h]
      models: [seasonal_naive]
"""
    )

    def run(*arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cloudpulse, ["models", *arguments, "--config", str(path)])
        assert code or done.exit_code == 0, done.output
        return done

    return run


def test_list_without_models_says_so(models: Callable[..., Result]) -> None:
    assert "no models yet" in models("list").output
    assert json.loads(models("list", "--json").output) == []


def test_list_has_a_line_for_each_version_and_marks_the_one_in_use(trained: Any, models: Callable[..., Result]) -> None:
    header, *lines = models("list").output.splitlines()
    assert header.split()[:2] == ["forecast", "version"]
    assert [line.split()[:2] for line in lines] == [["rps", "1"], ["rps", "2"], ["rps", "3"]]
    assert [line.endswith("in use") for line in lines] == [False, False, True]
    rows = json.loads(models("list", "--json").output)
    assert [(row["version"], row["series"], row["parts"], row["in_use"]) for row in rows] == [
        (1, 1, 1, False),
        (2, 1, 1, False),
        (3, 1, 1, True),
    ]


def test_list_shows_a_version_under_way_with_what_it_has(
    make_bench: Callable[..., Any], held_executor: Any, models: Callable[..., Result]
) -> None:
    bench = make_bench(executor=held_executor, max_series=400)
    bench.serve(300, days=0.2)
    bench.pipeline.round()
    bench.executor.do()
    bench.pipeline.train()
    (row,) = json.loads(models("list", "--json").output)
    assert (row["version"], row["parts"], row["whole"], row["in_use"]) == (1, 1, False, True)
    assert 0 < row["series"] < 300
    assert models("list").output.splitlines()[1].endswith("in use, under way")


def test_list_leaves_out_what_is_corrupt_and_says_which(trained: Any, models: Callable[..., Result]) -> None:
    (trained.folder / "models" / "rps" / "000002" / "manifest.json").write_text("{")
    done = models("list")
    assert "version 2 of rps is left out" in done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_show_has_what_it_was_trained_on_its_weights_and_its_files(trained: Any, models: Callable[..., Result]) -> None:
    facts = json.loads(models("show", "rps", "2", "--json").output)
    assert facts["version"] == 2
    assert facts["weights"] == {"seasonal_naive": 1.0}
    assert facts["history"] == "8d" or facts["history"].startswith("7d")
    assert facts["data_start"] < facts["data_end"] <= facts["trained_at"]
    assert facts["purpose"] == trained.target.purpose
    assert [one["series"] for one in facts["files"]] == [1]
    assert facts["bytes"] > 100
    text = models("show", "rps", "2").output
    assert "seasonal_naive 1" in text
    assert facts["files"][0]["sha256"][:16] in text


def test_rollback_puts_an_older_version_in_use_as_a_new_one(trained: Any, models: Callable[..., Result]) -> None:
    assert models("rollback", "rps", "1").output == "rps uses the models of version 1 again, as version 4\n"
    assert "in use, rollback of 1" in models("list").output
    trained.pipeline.round()
    assert trained.store.get("rps").version == 4


def test_rollback_to_the_one_in_use_is_refused(trained: Any, models: Callable[..., Result]) -> None:
    assert isinstance(models("rollback", "rps", "3", code=2).exception, ConfigError)
    assert Registry(trained.folder / "models" / "rps").numbers() == [1, 2, 3]


def test_rollback_to_models_for_another_config_is_refused(
    make_bench: Callable[..., Any], models: Callable[..., Result]
) -> None:
    make_bench(query="other").rounds(2)
    make_bench().rounds(2)
    done = models("rollback", "rps", "1", code=2)
    assert "change the config back first" in str(done.exception)


def test_prune_keeps_the_newest(trained: Any, models: Callable[..., Result]) -> None:
    assert models("prune", "rps", "--keep", "1").output == "deleted of rps: 1, 2\n"
    assert [row["version"] for row in json.loads(models("list", "--json").output)] == [3]
    assert models("prune", "rps", "--keep", "1").output == "nothing to delete of rps\n"
    assert models("prune", "rps", "--keep", "0", code=2).exit_code == 2


def test_unknown_names_and_versions_are_named_with_what_there_is(trained: Any, models: Callable[..., Result]) -> None:
    assert str(models("show", "rpz", "1", code=2).exception) == 'no forecast is named "rpz": the config has rps'
    assert str(models("show", "rps", "9", code=2).exception) == "rps has no version 9: there are 1, 2, 3"


@pytest.mark.parametrize("text", ["2/2", "x"])
def test_a_wrong_shard_ends_the_forecaster_with_one_message(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("forecaster: {}")
    monkeypatch.setattr("sys.argv", ["cloudpulse", "forecaster", "--config", str(path), "--shard", text])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert (
        f'--shard: expected i/n with i from 0 to n-1, such as 0/3, 1/3 and 2/3, got "{text}"' in capsys.readouterr().err
    )
