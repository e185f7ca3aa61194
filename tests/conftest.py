"""For all tests: neither how busy the machine is nor which test ran before decides one."""

from __future__ import annotations

import pytest
import structlog
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _every_line_is_logged() -> None:
    """A command that another test ran in this process may have left the log at warnings only."""
    structlog.reset_defaults()
