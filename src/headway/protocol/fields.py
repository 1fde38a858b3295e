"""Typed fields from text (KEY=VALUE on the command line, forms), converted where the input's schema takes no text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

NAMES: Final = {bool: "boolean", int: "integer", float: "number", list: "array", dict: "object", type(None): "null"}
DEPTH_MAX: Final = 20
"""Maximum depth of references, which may form a cycle."""


def read(text: str, name: str, schema: Mapping[str, Any]) -> Any:
    """Return the value of a field: `15` for an integer, the text for text, and the text for what does not fit either."""
    wanted = types(_of_field(schema, name), schema)
    if not wanted or "string" in wanted:
        return text
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError):
        return text
    found = NAMES.get(type(value))
    return value if found in wanted or (found == "integer" and "number" in wanted) else text


def types(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """Return the JSON types that a schema allows; empty if it allows any, or is nested too deep to tell."""
    return _types(schema, root, {}, 0)


def _types(schema: Any, root: Mapping[str, Any], known: dict[int, frozenset[str]], depth: int) -> frozenset[str]:
    """`known` caches the types of subschemas by identity, so that each is visited once."""
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return frozenset()
    if id(schema) not in known:
        known[id(schema)] = frozenset()  # ends recursion on itself
        known[id(schema)] = _named(schema, root, known, depth)
    return known[id(schema)]


def _named(
    schema: Mapping[str, Any], root: Mapping[str, Any], known: dict[int, frozenset[str]], depth: int
) -> frozenset[str]:
    if isinstance(reference := schema.get("$ref"), str):
        return _types(_at(root, reference), root, known, depth + 1)
    if named := schema.get("type"):
        return frozenset([named] if isinstance(named, str) else named)
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return frozenset("string" if isinstance(value, str) else NAMES[type(value)] for value in values)
    parts = [_types(part, root, known, depth + 1) for part in schema.get("anyOf") or schema.get("oneOf") or ()]
    return frozenset().union(*parts) if all(parts) else frozenset()


def _of_field(schema: Mapping[str, Any], name: str) -> Any:
    properties = schema.get("properties")
    if isinstance(properties, dict) and name in properties:
        return properties[name]
    return schema.get("additionalProperties")


def _at(root: Mapping[str, Any], reference: str) -> Any:
    """Return the schema that `#/$defs/Name` refers to, or None."""
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found
