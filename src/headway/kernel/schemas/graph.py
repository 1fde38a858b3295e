"""A JSON Schema (draft 2020-12) as a graph of subschemas, for computing its cost.

A subschema is applied in place (`allOf`, `$ref`, …) to the same value, or to what the value contains (`items`,
`properties`, …). Keywords of earlier drafts count too, so that the cost is never underestimated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urljoin

from headway.kernel.schemas.patterns import size

SUBSCHEMAS_MAX: Final = 3_000
PATTERNS_MAX: Final = 50_000
"""Most characters of all patterns together."""

_GROUPS: Final = {
    **dict.fromkeys(("not", "if", "then", "else", "allOf", "anyOf", "oneOf"), "branches"),
    **dict.fromkeys(("dependentSchemas", "dependencies"), "branches"),
    **dict.fromkeys(("properties", "additionalProperties"), "first"),
    **dict.fromkeys(("items", "prefixItems", "additionalItems"), "items"),
    **dict.fromkeys(("patternProperties", "propertyNames", "unevaluatedProperties"), "every"),
    **dict.fromkeys(("contains", "unevaluatedItems"), "every"),
    **dict.fromkeys(("$defs", "definitions"), ""),
}
"""Keywords with subschemas, and the list of `Subschema` these belong to; "": only applied by reference."""
_MAPS: Final = frozenset(
    {"dependentSchemas", "dependencies", "properties", "patternProperties", "$defs", "definitions"}
)
"""Keywords with an object of subschemas; others have one subschema, or a list."""
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

FLAT_STEPS: Final = 10
"""Steps of a keyword that takes more than a comparison, such as `pattern`; a step is about 15 ns."""
COMPARED_STEPS: Final = 10
"""Steps to compare with one value that is a list or an object, or within one."""
DIVIDED_STEPS: Final = 100
"""Steps of `multipleOf`; twenty times as many for a divisor far from 1."""


class TooLarge(Exception):
    """The schema has more subschemas than SUBSCHEMAS_MAX, or longer patterns than PATTERNS_MAX."""


class Subschema:
    """One subschema: its own cost, and the others that it applies, as indices into `Graph.subschemas`."""

    __slots__ = ("base", "branches", "bytes", "containers", "deep", "every", "first", "items", "path", "values")

    def __init__(self, path: tuple[Any, ...], base: str) -> None:
        self.path = path
        """The parent's path, the keyword, and the key or index below it."""
        self.base = base
        self.containers = 0.0
        """Steps for each list and object."""
        self.values = 1.0
        """Steps for each value and name."""
        self.bytes = 0.0
        """Steps for each byte of a text."""
        self.deep = 0.0
        """Steps for each value at any depth below the one it is applied to."""
        self.branches: list[int] = []
        """Subschemas applied in place, all of them."""
        self.first: list[int] = []
        """Subschemas for members; one of these applies to each."""
        self.items: list[int] = []
        """Subschemas for items; one of these applies to each."""
        self.every: list[int] = []
        """Subschemas that apply to members or items besides those."""

    @property
    def pointer(self) -> str:
        """The JSON pointer to it."""
        parts: list[str] = []
        path = self.path
        while path:
            above, *names = path
            parts[:0] = (f"/{str(name).replace('~', '~0').replace('/', '~1')}" for name in names)
            path = above
        return "".join(parts)


class Graph:
    """The subschemas of a schema; the first is the schema itself."""

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        self._root = schema
        self.subschemas: list[Subschema] = []
        self.pattern_weight = 0
        """The weight of compiling all patterns."""
        self.patterns = 0
        self.opaque = False
        """Whether the schema has an external reference, such as to the meta-schema, which makes its cost unknown."""
        self.rewalking: set[int] = set()
        """Subschemas with `unevaluated…`, which apply those in place again to find the evaluated members and items."""
        self._pattern_length = 0
        self._by_identity: dict[int, int] = {}
        self._resources: dict[str, Any] = {"": schema}
        self._anchors: dict[tuple[str, str], list[Any]] = {}
        self._references: list[tuple[int, str]] = []
        self._todo: list[tuple[int, Any]] = []
        self._add(schema, (), "")
        self._walk()
        while self._references:  # a reference may lead to a place that no keyword led to
            index, reference = self._references.pop()
            self._resolve(index, reference)
            self._walk()

    def _add(self, schema: Any, path: tuple[Any, ...], base: str) -> int | None:
        """Return the index of a subschema; None for true and false, which cost nothing, and for an invalid one."""
        if not isinstance(schema, dict):
            return None
        known = self._by_identity.get(id(schema))
        if known is not None:
            return known
        if len(self.subschemas) >= SUBSCHEMAS_MAX:
            raise TooLarge("it has too many subschemas")
        if isinstance(name := schema.get("$id"), str):
            base = urljoin(base, name).removesuffix("#")
            self._resources[base] = schema
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(name := schema.get(keyword), str):
                self._anchors.setdefault((base, name), []).append(schema)
        index = self._by_identity[id(schema)] = len(self.subschemas)
        self.subschemas.append(Subschema(path, base))
        self._todo.append((index, schema))
        return index

    def _walk(self) -> None:
        while self._todo:
            index, schema = self._todo.pop()
            self._read(index, schema)

    def _read(self, index: int, schema: Mapping[str, Any]) -> None:
        node = self.subschemas[index]
        for word, value in schema.items():
            if word in _REFERENCES and isinstance(value, str):
                self._references.append((index, value))
            group = _GROUPS.get(word)
            if group is None or not isinstance(value, dict | list):
                continue
            found: list[int] = []
            for steps, each in _parts(word, value):
                added = self._add(each, (node.path, word, *steps), node.base)
                if added is not None:
                    found.append(added)
            if group:
                getattr(node, group).extend(found)
        if "unevaluatedProperties" in schema or "unevaluatedItems" in schema:
            self.rewalking.add(index)
        self._weigh(node, schema)

    def _weigh(self, node: Subschema, schema: Mapping[str, Any]) -> None:
        """Add up a subschema's own cost."""
        node.values += len(schema)
        for word, value in schema.items():
            match word:
                case "properties" | "required" | "dependentRequired" | "dependencies" | "dependentSchemas":
                    node.containers += len(value) if isinstance(value, dict | list) else 0
                case "pattern":
                    self._match(node, value)
                case "patternProperties" if isinstance(value, dict):
                    for pattern in value:
                        self._match(node, pattern)
                case "enum" | "const":
                    options = value if word == "enum" and isinstance(value, list) else [value]
                    compared = sum(_count(each) for each in options if isinstance(each, dict | list))
                    node.values += compared * COMPARED_STEPS
                    node.bytes += 0.05
                case "minLength" | "maxLength":
                    node.bytes += 0.05
                case "uniqueItems" if value:
                    node.deep += FLAT_STEPS
                case "multipleOf" if isinstance(value, int | float) and value:
                    far = abs(math.log10(abs(value))) > 15  # noqa: PLR2004
                    node.values += DIVIDED_STEPS * (20 if far else 1)

    def _match(self, node: Subschema, pattern: Any) -> None:
        if isinstance(pattern, str):
            self._pattern_length += len(pattern)
            if self._pattern_length > PATTERNS_MAX:
                raise TooLarge("its patterns are too large")
            found = size(pattern)
            node.values += FLAT_STEPS
            node.bytes += found.states / 2
            self.pattern_weight += found.weight
            self.patterns += 1

    def _resolve(self, index: int, reference: str) -> None:
        node = self.subschemas[index]
        whole = urljoin(node.base, reference) if reference.partition("#")[0] else node.base + reference
        base, _, fragment = whole.partition("#")
        fragment = unquote(fragment)
        found: list[Any] = []
        if fragment and not fragment.startswith("/"):
            # The target of a dynamic reference is known only at validation, so all candidates are counted.
            found = [each for (_, name), named in self._anchors.items() if name == fragment for each in named]
        elif base in self._resources:
            target = _at(self._resources[base], fragment)
            found = [] if target is None else [target]
        if not found:
            self.opaque = True
        for target in found:
            added = self._add(target, ((), *fragment.split("/")[1:]), base)
            if added is not None:
                node.branches.append(added)


def _parts(word: str, value: dict[str, Any] | list[Any]) -> Iterable[tuple[tuple[Any, ...], Any]]:
    """Yield the subschemas of a keyword, each with its key or index there."""
    if isinstance(value, list):
        return (((index,), each) for index, each in enumerate(value))
    return (((name,), each) for name, each in value.items()) if word in _MAPS else (((), value),)


def _count(value: Any) -> int:
    """Return the number of values in a value, itself included."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, parts))


def _at(schema: Any, pointer: str) -> Any:
    found = schema
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and len(part) < 7 and int(part) < len(found):  # noqa: PLR2004
            found = found[int(part)]
        else:
            return None
    return found
