"""Time zones of the config, by their IANA names (https://www.iana.org/time-zones)."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def zone(name: str, key: str = "timezone") -> ZoneInfo:
    """The zone of that name; raises ValueError that names the `key` for one that doesn't exist."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder, such as Europe
        raise ValueError(f'{key}: expected an IANA name such as Europe/Berlin, got "{name}"') from error
