from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cloudpulse.errors import CorruptFile, StoreError
from cloudpulse.testing import captured_logs
from forecaster.model import State
from forecaster.registry import FORMAT, KEPT, About, Manifest, Registry, StoredPart

FIXTURE = Path(__file__).parent / "data" / "models-format-1"


def part(keys: str, trained_at: float = 0.0) -> StoredPart:
    state = State({"a": np.arange(6.0).reshape(2, 3)}, {"n": [1, None]})
    about = About(trained_at, 0.0, 86400.0, len(keys), 2.5, {"profile": 0.75, "lstm": 0.25})
    return StoredPart(tuple(keys), state, about, "test")


def add_version(registry: Registry, *parts: StoredPart) -> Manifest:
    number = registry.begin()
    for one in parts:
        registry.add(number, one)
    return registry.finish(number, "test", now=100.0)


def test_a_version_comes_back_as_it_was(tmp_path: Path) -> None:
    made = add_version(Registry(tmp_path), part("ab", 1.0), part("c", 2.0))
    registry = Registry(tmp_path)
    assert registry.newest() == made
    assert (made.number, made.series, made.trained_at, made.purpose) == (1, 3, 2.0, "test")
    stored = registry.parts(1)
    assert [(one.keys, one.about, one.purpose) for one in stored] == [
        (("a", "b"), part("ab", 1.0).about, "test"),
        (("c",), part("c", 2.0).about, "test"),
    ]
    np.testing.assert_array_equal(stored[0].state.arrays["a"], part("").state.arrays["a"])
    assert stored[0].state.facts == {"n": [1, None]}


def test_the_checksums_are_those_that_sha256sum_prints(tmp_path: Path) -> None:
    made = add_version(Registry(tmp_path), part("ab"))
    content = (tmp_path / "000001" / made.parts[0].file).read_bytes()
    assert made.parts[0].sha256 == hashlib.sha256(content).hexdigest()


def test_versions_count_up_and_old_ones_go(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for _ in range(KEPT + 3):
        add_version(registry, part("a"))
    assert registry.numbers() == list(range(4, KEPT + 4))


def test_a_version_under_way_is_not_the_newest_until_it_is_finished(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    add_version(registry, part("a"))
    number = registry.begin()
    registry.add(number, part("b"))
    newest = registry.newest()
    assert newest is not None
    assert newest.number == 1
    assert registry.under_way() == [2]
    assert registry.parts(2)[0].keys == ("b",)
    registry.finish(2, "test", 0.0)
    assert registry.numbers() == [1, 2]
    assert registry.under_way() == []


def test_a_finished_version_has_only_the_parts_that_are_the_newest_for_a_series(tmp_path: Path) -> None:
    made = add_version(Registry(tmp_path), part("ab", 1.0), part("c", 2.0), part("abd", 3.0))
    assert [one.about.trained_at for one in made.parts] == [2.0, 3.0]
    assert sorted(path.name for path in (tmp_path / "000001").iterdir()) == [
        "0002.safetensors",
        "0003.safetensors",
        "manifest.json",
    ]


def test_a_corrupt_part_is_logged_and_the_others_are_read(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    add_version(registry, part("ab"), part("c"))
    (tmp_path / "000001" / "0001.safetensors").write_bytes(b"half")
    with captured_logs() as lines:
        assert [one.keys for one in registry.parts(1)] == [("c",)]
    assert "0001.safetensors" in lines[0]["error"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"series": 1', '"series": 2'),
        lambda text: "[]",
        lambda text: text.replace('"checksum"', '"other"'),
    ],
)
def test_a_version_with_a_corrupt_manifest_is_passed_over(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    registry = Registry(tmp_path)
    add_version(registry, part("a"))
    add_version(registry, part("a"))
    path = tmp_path / "000002" / "manifest.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(CorruptFile, match=r"000002.manifest\.json"):
        registry.manifest(2)
    newest = registry.newest()
    assert newest is not None
    assert newest.number == 1


def test_a_rollback_is_a_new_version_with_the_old_parts(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    add_version(registry, part("ab", 1.0))
    add_version(registry, part("ab", 2.0))
    under_way = registry.begin()
    made = registry.roll_back(1, now=50.0)
    assert made.number == under_way + 1
    assert (made.rollback_of, made.counts_from, made.trained_at) == (1, 50.0, 1.0)
    newest = Registry(tmp_path).newest()
    assert newest == made
    assert [one.about.trained_at for one in registry.parts(made.number)] == [1.0]
    assert registry.numbers() == [1, 2, 4]
    assert registry.under_way() == [], "what was under way is no more"


def test_what_a_killed_rollback_left_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(tmp_path)
    add_version(registry, part("a"))
    with monkeypatch.context() as patched:
        patched.setattr(Registry, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry.roll_back(1, 0.0)
    assert len(list(tmp_path.iterdir())) == 2
    registry.roll_back(1, 0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001", "000002"]


def test_a_rollback_to_a_version_with_a_corrupt_part_changes_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for _ in range(2):
        add_version(registry, part("ab"))
    (tmp_path / "000001" / "0001.safetensors").write_bytes(b"half")
    with pytest.raises(CorruptFile, match=r"0001\.safetensors"):
        registry.roll_back(1, 0.0)
    assert registry.numbers() == [1, 2]


def test_pruning_keeps_the_newest_and_what_is_under_way(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for _ in range(4):
        add_version(registry, part("a"))
    registry.begin()
    assert registry.prune(1) == [1, 2, 3]
    assert (registry.numbers(), registry.under_way()) == ([4], [5])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000004", "000005"]


def test_what_was_never_finished_goes_with_the_next_pruning(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(registry.begin(), part("a"))
    add_version(registry, part("a"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000002"]


def test_how_a_version_does_live_is_kept_with_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    add_version(registry, part("a"))
    registry.note(1, {"1h": 0.7})
    assert registry.manifest(1).mase == {"1h": 0.7}


def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "none")
    assert registry.newest() is None
    assert (registry.numbers(), registry.under_way(), registry.parts(1)) == ([], [], [])
    with pytest.raises(StoreError):
        registry.manifest(1)


def test_format_1_as_0_1_wrote_it_is_read() -> None:
    """The files are committed: what this version writes, the next must read."""
    registry = Registry(FIXTURE)
    manifest = registry.newest()
    assert manifest is not None
    assert (manifest.number, manifest.format, manifest.code, manifest.series) == (3, 1, "0.1.0", 2)
    assert manifest.mase == {"1h": 0.62}
    (stored,) = registry.parts(3)
    assert stored.keys == ("app\x01a", "app\x01b")
    assert stored.about.weights == {"profile": 1.0}
    np.testing.assert_array_equal(stored.state.arrays["weights"], np.float32([[0.25, 0.75], [0.5, 0.5]]))
    assert stored.state.facts == {"step": 300.0}


def test_facts_that_a_later_minor_version_added_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(FIXTURE, folder)
    path = folder / "000003" / "manifest.json"
    rewrite(path, {"later": {"x": 1}})
    registry = Registry(folder)
    manifest = registry.newest()
    assert manifest is not None
    assert manifest.number == 3


def test_another_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(FIXTURE, folder)
    rewrite(folder / "000003" / "manifest.json", {"format": FORMAT + 1})
    with pytest.raises(CorruptFile, match=f"format {FORMAT + 1}, this CloudPulse reads {FORMAT}: use the one that"):
        Registry(folder).manifest(3)


def rewrite(path: Path, changes: dict[str, object]) -> None:
    """As a version that knows them would have written it."""
    facts = json.loads(path.read_text()) | changes
    del facts["checksum"]
    checksum = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**facts, "checksum": checksum}))
