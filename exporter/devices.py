"""Families with one label, the device: their label blocks serve all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudpulse.names import Definition
from exporter.families import Family, columns, label_block
from exporter.system import Values


def by_device(fields: Mapping[str, Definition], devices: Mapping[str, Values]) -> Iterator[Family]:
    """A family for each field, with the devices that have it."""
    blocks = {device: label_block({"device": device}) for device in devices}
    for field, definition in fields.items():
        having = [device for device, values in devices.items() if field in values]
        yield columns(definition, [blocks[device] for device in having], [devices[d][field] for d in having])
