"""The Influx line protocol: https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/."""

from __future__ import annotations

from collections.abc import Mapping


def line(measurement: str, tags: Mapping[str, str], fields: Mapping[str, str | float | int], at: float) -> str:
    """One point at Unix time `at`; tags without a value are left out, since the protocol has none such."""
    head = [_escaped(measurement, ", ")]
    for name, value in sorted(tags.items()):
        key, text = _escaped(name, ",= "), _escaped(value, ",= ")
        if key and text:
            head.append(f"{key}={text}")
    told = ",".join(f"{_escaped(name, ',= ')}={_field(value)}" for name, value in fields.items())
    return f"{','.join(head)} {told} {round(at * 1000) * 1_000_000}"


def _escaped(text: str, special: str) -> str:
    # A line ends at a line end, whatever is before it; and a backslash at the end would escape what follows.
    plain = " ".join(text.splitlines()).strip().rstrip("\\")
    return "".join(f"\\{character}" if character in special else character for character in plain)


def _field(value: str | float) -> str:
    if isinstance(value, str):
        plain = " ".join(value.splitlines()).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{plain}"'
    return f"{value}i" if isinstance(value, int) else repr(value)
