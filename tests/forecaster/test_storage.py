from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cloudpulse.errors import CorruptFile, StoreError
from forecaster import storage
from forecaster.model import State

STATE = State({"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2], np.int32)}, {"name": "x", "n": [1, None]})


def same(left: State, right: State) -> bool:
    return left.facts == right.facts and all(
        np.array_equal(left.arrays[name], right.arrays[name]) and left.arrays[name].dtype == right.arrays[name].dtype
        for name in {*left.arrays, *right.arrays}
    )


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    storage.write(tmp_path / "folder" / "s.safetensors", STATE)
    assert same(storage.read(tmp_path / "folder" / "s.safetensors"), STATE)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["s.safetensors"]


@pytest.mark.parametrize("place", range(10))
def test_a_changed_byte_is_noticed(tmp_path: Path, place: int) -> None:
    path = tmp_path / "s.safetensors"
    storage.write(path, STATE)
    content = bytearray(path.read_bytes())
    content[len(content) * place // 10] ^= 0x41
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"s\.safetensors"):
        storage.read(path)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_a_cut_file_is_noticed(tmp_path: Path, share: float) -> None:
    path = tmp_path / "s.safetensors"
    storage.write(path, STATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CorruptFile):
        storage.read(path)


def test_what_a_killed_process_left_half_written_does_not_stay(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from forecaster import storage
storage.sync = os.fsync = lambda *_: os.kill(os.getpid(), 9)
storage.put(Path({str(tmp_path / "s")!r}), b"half")
"""
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    storage.put(tmp_path / "s", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_sweeping_takes_what_is_half_written_and_nothing_else(tmp_path: Path) -> None:
    storage.put(tmp_path / "s", b"whole")
    (tmp_path / ".t.part").write_bytes(b"half")
    storage.sweep(tmp_path)
    storage.sweep(tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_missing_file_is_no_corruption(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        storage.read(tmp_path / "none.safetensors")
    assert not isinstance(caught.value, CorruptFile)


def test_a_write_that_fails_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    storage.write(path, STATE)
    # A real full disk: the process may write no file beyond 1 kB.
    program = f"""
import resource, signal, sys, numpy as np
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from forecaster import storage
from forecaster.model import State
from cloudpulse.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
try:
    storage.write(Path({str(path)!r}), State({{"a": np.zeros(10000)}}, {{}}))
except StoreError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "can't be written" in done.stdout
    assert same(storage.read(path), STATE)
    assert [found.name for found in tmp_path.iterdir()] == ["s.safetensors"]
