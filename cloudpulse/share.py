"""Where the files beside the code are: rules, examples; in a checkout or in an installed package."""

from __future__ import annotations

from pathlib import Path


def path(*parts: str) -> Path:
    """A shared file or folder such as `path("prometheus", "rules")`."""
    package = Path(__file__).parent
    installed = package / "share"
    return (installed if installed.is_dir() else package.parent).joinpath(*parts)
