"""The console's size, and how soon a browser shows the first of 1,000 series: `python -m benchmarks.console_page`.

The bars: under 250 kB, unpacked, and under a second. Measured with the machine's Chromium, without a cache.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from forecaster.consolepages import FILES, FOLDER
from tests.forecaster.browsing import chromium, watched
from tests.forecaster.stage import staged

SERIES, VIEWS = 1000, 7


def main() -> None:
    """Print size and times."""
    plain = sum((FOLDER / name).stat().st_size for name in (*FILES, "index.html"))
    print(f"page: {plain / 1000:.0f} kB unpacked, {len(FILES) + 1} files")
    with tempfile.TemporaryDirectory() as folder, staged(Path(folder)) as stage, chromium() as browser:
        stage.forecast([{"app": f"app{i:04}", "zone": f"zone{i % 7}"} for i in range(SERIES)])
        times, sent = [], 0
        for _ in range(VIEWS):
            with watched(browser, stage.url) as seen:
                page = seen.open()
                times.append(page.evaluate("performance.getEntriesByName('cloudpulse-rows')[0].startTime"))
                sent = page.evaluate(
                    "performance.getEntriesByType('resource').map(e => e.transferSize).reduce((a, b) => a + b, 0)"
                )
        print(f"sent for the first view, packed, with the overview of {SERIES} series: {sent / 1000:.0f} kB")
        print(f"rows shown after: median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms of {VIEWS}")


if __name__ == "__main__":
    main()
