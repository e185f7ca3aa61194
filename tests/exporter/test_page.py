"""The whole page against its golden file; REWRITE_GOLDEN=1 pytest tests/exporter/test_page.py rewrites it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict_families
from prometheus_client.parser import text_string_to_metric_families

from cloudpulse import exposition, names
from cloudpulse.negotiation import OPENMETRICS, TEXT, TEXT_1_0_0, Format
from exporter.collector import Host
from exporter.collectors import enabled
from tests.exporter.conftest import FrozenHost

FOLDER = Path(__file__).parent / "golden"
GOLDEN = {TEXT: FOLDER / "metrics.prom", OPENMETRICS: FOLDER / "metrics.openmetrics"}


def _page(frozen: FrozenHost, form: Format = TEXT) -> str:
    # Of each thread: a busy machine makes the reads several threads' work, whose looks at the clock come in any order.
    ticks: dict[int, Iterator[float]] = defaultdict(lambda: itertools.count(0, 0.25))
    host = Host(enabled(frozen.settings), seconds=lambda: next(ticks[threading.get_ident()]))
    return exposition.encode(host.collect(10.0), form).decode()


@pytest.mark.parametrize("form", GOLDEN, ids=lambda form: form.content_type)
def test_the_page_of_a_frozen_host_is_the_golden_file(frozen_host: FrozenHost, form: Format) -> None:
    page = _page(frozen_host, form)
    if os.environ.get("REWRITE_GOLDEN"):
        GOLDEN[form].write_text(page, encoding="utf-8")
    assert page == GOLDEN[form].read_text(encoding="utf-8")


def test_the_two_text_formats_are_the_same_but_for_what_they_are_called(frozen_host: FrozenHost) -> None:
    assert _page(frozen_host, TEXT_1_0_0) == _page(frozen_host, TEXT)


def test_every_format_says_the_same(frozen_host: FrozenHost) -> None:
    text = {family.name: family for family in text_string_to_metric_families(_page(frozen_host))}
    openmetrics = {family.name: family for family in strict_families(_page(frozen_host, OPENMETRICS))}
    assert openmetrics.keys() == text.keys()
    for name, family in openmetrics.items():
        assert (family.type, family.documentation) == (text[name].type, text[name].documentation)
        assert family.samples == text[name].samples
        assert name.endswith(family.unit)


def test_every_series_is_in_the_table_and_the_whole_table_is_shown(frozen_host: FrozenHost) -> None:
    families = {family.name: family for family in text_string_to_metric_families(_page(frozen_host))}
    promised = {
        definition.name.removesuffix("_total"): definition
        for definition in names.definitions()
        if definition.name.startswith(("cloudpulse_node_", "cloudpulse_exporter_"))
    }
    foreign = {"backup_duration_seconds", "backup_files", "backup_ok"}
    assert families.keys() - promised.keys() == foreign
    families = {name: family for name, family in families.items() if name not in foreign}
    assert families.keys() == promised.keys()
    for name, family in families.items():
        assert family.type == promised[name].kind
        assert all(tuple(sample.labels) == promised[name].labels for sample in family.samples)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")
def test_promtool_has_nothing_against_the_page_but_one_name_of_the_contract() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=GOLDEN[TEXT].read_bytes(), capture_output=True, timeout=20, check=False
    )
    complaints = done.stderr.decode().splitlines()
    assert all(line.startswith(names.CPU_COUNT.name + " ") and '"_count" suffix' in line for line in complaints)
    assert done.returncode in (0, 3)
