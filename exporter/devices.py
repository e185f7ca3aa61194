"""Families with one label, the device: their label blocks serve all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudpulse.names import Definition
from exporter.families import Family, columns, label_blocks
from exporter.system import Values


def by_device(fields: Mapping[str, Definition], devices: Mapping[str, Values]) -> Iterator[Family]:
    """A family for each field, with the devices that have it."""
    everywhere = label_blocks(("device",), tuple((device,) for device in devices))
    for field, definition in fields.items():
        having = {device: values[field] for device, values in devices.items() if field in values}
        shown = (
            everywhere if len(having) == len(devices) else label_blocks(("device",), tuple((name,) for name in having))
        )
        yield columns(definition, shown, having.values())
