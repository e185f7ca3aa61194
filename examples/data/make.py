"""Makes demand.csv.gz, the demand that `cloudpulse up --demo` replays, from the published traces.

    python examples/data/make.py SOURCE

SOURCE holds `apps-crane/appNN.csv.gz` (columns timestamp, value) and `web/nasa-1995-07.csv.gz` (columns
timestamp, requests), on a 1-minute grid in UTC; README.md beside this file says where they come from.
Needs pandas. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
from pathlib import Path

import pandas as pd

DAYS = 16
MINUTES = DAYS * 24 * 60
CRANE_APPS = ("app02", "app08", "app09", "app13")
NASA_START = "1995-07-07T04:00:00Z"
"""00:00 in the server's zone (UTC-4) on a Friday, the weekday on which app09 and app13 start."""


def crane(source: Path, app: str) -> pd.Series[float]:
    """The first 16 days of one application; raises ValueError if any minute is missing."""
    return _whole_days(pd.read_csv(source / "apps-crane" / f"{app}.csv.gz", index_col="timestamp")["value"], app)


def nasa(source: Path) -> pd.Series[float]:
    """Requests per minute of the NASA web server, 16 days from NASA_START; raises ValueError as `crane` does."""
    trace = pd.read_csv(source / "web" / "nasa-1995-07.csv.gz", index_col="timestamp")["requests"]
    return _whole_days(trace.loc[NASA_START:], "nasa")


def _whole_days(series: pd.Series[float], name: str) -> pd.Series[float]:
    cut = series.iloc[:MINUTES]
    if len(cut) < MINUTES or cut.isna().any():
        raise ValueError(f"{name}: expected {MINUTES} minutes without a gap, got {cut.count()}")
    return cut.reset_index(drop=True)


def main() -> None:
    """Read the sources, write demand.csv.gz and copy the Crane licence beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with apps-crane/ and web/")
    source = parser.parse_args().source
    here = Path(__file__).parent

    demand = pd.DataFrame({app: crane(source, app) for app in CRANE_APPS} | {"nasa": nasa(source)})
    text = demand.to_csv(index_label="minute", float_format="%.4g", lineterminator="\n")
    # mtime=0: gzip would otherwise write the time of day into the file.
    (here / "demand.csv.gz").write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    shutil.copyfile(source / "apps-crane" / "LICENSE.txt", here / "LICENSE-crane.txt")


if __name__ == "__main__":
    main()
