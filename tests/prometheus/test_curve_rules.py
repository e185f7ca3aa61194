"""The example of a rule over the whole curve, asked of a real Prometheus: promtool's tests know no future samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from cloudpulse import names
from cloudpulse.local import past

FILE = Path(__file__).parents[2] / "examples" / "rules" / "curve.yml"
START, STEP, HOUR = 1_700_000_100, 300, 3600


def lines() -> Iterator[str]:
    """Two days: over 600 from hour 30 on, for 3 hours of `shop` and 1 hour of `calm`."""
    for app, hours in (("shop", 3), ("calm", 1)):
        for i in range(48 * HOUR // STEP):
            value = 700 if 30 * HOUR <= i * STEP < (30 + hours) * HOUR else 400
            labels = f'forecast="demand",level="0.5",app="{app}"'
            yield f"{names.FORECAST_CURVE.name}{{{labels}}} {value} {START + i * STEP}\n"
    yield "# EOF\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with past.prometheus(lines(), tmp_path_factory.mktemp("curve")) as url:
        yield url


@pytest.mark.parametrize(("hour", "told"), [(5, {}), (20, {"shop": 3 * HOUR}), (36, {})])
def test_hours_over_capacity_within_the_next_day_are_told_of_and_an_hour_is_not(
    url: str, hour: int, told: dict[str, float]
) -> None:
    (group,) = yaml.safe_load(FILE.read_text())["groups"]
    (rule,) = group["rules"]
    asked = {"query": rule["expr"], "time": START + hour * HOUR}
    answer = requests.get(f"{url}/api/v1/query", asked, timeout=10).json()["data"]["result"]
    assert {one["metric"]["app"]: float(one["value"][1]) for one in answer} == pytest.approx(told, abs=STEP)
