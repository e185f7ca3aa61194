"""How the config's YAML is read: a SafeLoader with more checks. Apart, since it imports yaml."""

from __future__ import annotations

import re
from typing import Any

import yaml

_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""Escapes can write them; nothing that a config names can be called so."""


class UniqueKeyLoader(yaml.SafeLoader):
    """The config's YAML: a SafeLoader that refuses a key given twice, where YAML would silently keep the last.

    It refuses NUL and half a surrogate pair, too, which no path, header or user's name can hold.
    """

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and _NO_TEXT.search(value):
            problem = "a text holds NUL or a surrogate: write the character itself"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key_node.start_mark)
            key = key_node.value
            if key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f'key "{key}" is given twice', key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# PyYAML takes 17:00 for the number 1020 (YAML 1.1, base 60); Go's YAML, and so Alertmanager, reads a text.
UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [
        (tag, re.compile(rf"(?![-+0-9_.]*:){pattern.pattern}", re.X) if tag.endswith((":int", ":float")) else pattern)
        for tag, pattern in resolvers
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
