"""What runs: version, revision, Python."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable

from prometheus_client.core import Metric

from cloudpulse import __version__, names

REVISION_VARIABLE = "CLOUDPULSE_REVISION"
"""The build's commit; images and packages set it, a checkout leaves it unknown."""


class BuildInfo:
    """Collects `cloudpulse_build_info`."""

    def collect(self) -> Iterable[Metric]:
        """The one sample."""
        family = names.BUILD_INFO.family()
        labels = (__version__, os.environ.get(REVISION_VARIABLE, "unknown"), platform.python_version())
        family.add_sample(names.BUILD_INFO.name, dict(zip(names.BUILD_INFO.labels, labels, strict=True)), 1.0)
        yield family
