"""Write the dashboards: `python -m grafana`, which is `make dashboards`."""

from __future__ import annotations

import sys
from pathlib import Path

from grafana.board import rendered
from grafana.boards import BOARDS

FOLDER = Path(__file__).parent / "dashboards"


def main() -> None:
    """Every board of the table as `dashboards/NAME.json`; a file without a board is removed."""
    files = {FOLDER / f"{board.name}.json": rendered(board) for board in BOARDS}
    for stale in set(FOLDER.glob("*.json")) - files.keys():
        stale.unlink()
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {len(files)} dashboards to {FOLDER}\n")


if __name__ == "__main__":
    main()
