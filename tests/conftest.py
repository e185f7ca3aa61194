"""For all tests: neither how busy the machine is nor which test ran before decides one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from cloudpulse.testing import captured_logs

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """What a test logs, at any level; see captured_logs."""
    with captured_logs() as lines:
        yield lines
