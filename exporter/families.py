"""What collectors are written with: families of samples, made from the table's definitions."""

from cloudpulse.families import Family, Row, columns, label_block, many, one

__all__ = ["Family", "Row", "columns", "label_block", "many", "one"]
