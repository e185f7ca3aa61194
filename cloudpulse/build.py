"""What runs: version, revision, Python."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable

from cloudpulse import __version__, names
from cloudpulse.families import Family, many

REVISION_VARIABLE = "CLOUDPULSE_REVISION"
"""The build's commit; images and packages set it, a checkout leaves it unknown."""


class BuildInfo:
    """Collects `cloudpulse_build_info`."""

    def collect(self) -> Iterable[Family]:
        """The one sample."""
        labels = (__version__, os.environ.get(REVISION_VARIABLE, "unknown"), platform.python_version())
        yield many(names.BUILD_INFO, [(labels, 1.0)])
