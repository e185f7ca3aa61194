from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudpulse import folders
from cloudpulse.errors import StoreError


def test_a_data_dir_serves_one_process_until_it_is_given_back(tmp_path: Path) -> None:
    program = f"from cloudpulse import folders; from pathlib import Path; folders.claim(Path({str(tmp_path)!r}), 'x')"
    claimed = folders.claim(tmp_path, "x")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "in use by another x" in done.stderr
    os.close(claimed)
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/data: can't use this data_dir"):
        folders.claim(tmp_path / "file" / "data", "x")
