"""The `cloudpulse` command with weights that never saw the data set which the CSV file is of.

    python forecast_bench.py --command "python benchmarks/held_out.py ../shared/data/catalog.csv"

Figures on recorded series mean something for a stranger's only if the shipped networks were not trained on them. The
data set is found by the names of the CSV's columns. `make bench-forecast` runs it.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from cloudpulse.cli import main
from forecaster.models import weights

WEIGHTS = Path(__file__).parent / "weights"


def source_of(catalog: Path, columns: list[str]) -> str:
    """The data set of a catalogue that has all these columns, named ENTITY/METRIC."""
    with catalog.open(newline="") as file:
        sources = {f"{row['entity']}/{row['metric']}": row["dataset"] for row in csv.DictReader(file)}
    found = {sources.get(column, "none") for column in columns}
    if len(found) != 1 or "none" in found:
        sys.exit(f"columns of {sorted(found)}, expected those of one data set in {catalog}")
    return found.pop()


if __name__ == "__main__":
    catalog = Path(sys.argv.pop(1))
    path = Path(sys.argv[sys.argv.index("--csv") + 1])
    with path.open(newline="") as file:
        columns = next(csv.reader(file))[1:]
    weights.FOLDER = WEIGHTS / f"without-{source_of(catalog, columns)}"
    main()
