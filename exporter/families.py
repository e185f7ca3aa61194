"""What collectors are written with: families of samples, made from the table's definitions."""

from cloudpulse.families import Family as Columns
from cloudpulse.families import ForeignFamily, Row, columns, label_blocks, many, one

Family = Columns | ForeignFamily
"""What a collector yields."""

__all__ = ["Family", "Row", "columns", "label_blocks", "many", "one"]
