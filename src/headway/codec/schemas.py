"""The JSON Schema of a type: msgspec's, with Pydantic's schemas and those of stand-ins inserted."""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import msgspec

from headway.codec import pydantic
from headway.codec.hints import Foreign

_PLACE: Final = "$headway"
_DEFS: Final = "#/$defs/"


def schema(kind: Any, mode: pydantic.Mode = "validation") -> dict[str, Any]:
    """Return the JSON Schema of a type that is understood, with `$defs`; raise TypeError if there is none."""
    made = _Schema(mode)
    root = made.of(kind)
    own = root.get("$ref", "").removeprefix(_DEFS) if len(root) == 1 else ""
    if own and not any(_names(each, own) for each in made.defs.values()):
        root = made.defs.pop(own)  # it stands at the root, unless it contains itself
    return {**root, **({"$defs": made.defs} if made.defs else {})}


class _Schema:
    """One document, whose definitions have names of their own."""

    def __init__(self, mode: pydantic.Mode) -> None:
        self.defs: dict[str, Any] = {}
        self._mode = mode
        self._named: dict[type, str] = {}

    def of(self, kind: Any) -> dict[str, Any]:
        waiting: list[type] = []

        def place(custom: type) -> dict[str, Any]:
            if not (issubclass(custom, Foreign) or pydantic.is_type(custom)):
                raise NotImplementedError
            waiting.append(custom)
            return {_PLACE: len(waiting) - 1}

        (root,), components = msgspec.json.schema_components([kind], schema_hook=place)
        filled = functools.cache(lambda number: self._custom(waiting[number]))

        def fill(node: Any) -> Any:
            if isinstance(node, list):
                return [fill(each) for each in node]
            if not isinstance(node, dict):
                return node
            parts = {key: fill(each) for key, each in node.items() if key != _PLACE}
            return {**filled(node[_PLACE]), **parts} if _PLACE in node else parts

        root, names = self._taken(root, components)
        for name in names:  # only now, since what fills a place has its final names
            self.defs[name] = fill(self.defs[name])
        described: dict[str, Any] = fill(root)
        return described

    def _custom(self, kind: Any) -> dict[str, Any]:
        model = kind if not issubclass(kind, Foreign) else kind.by_pydantic
        if model is not None and not pydantic.is_model(model):
            found = pydantic.schema(model, self._mode)
            return self._taken(found, found.pop("$defs", {}))[0]
        if model is None and not kind.named:
            parts = [self.of(each) for each in kind.described_by]
            return parts[0] if len(parts) == 1 else {"anyOf": parts}
        if kind not in self._named:
            self._name(kind, model)
        return {"$ref": f"{_DEFS}{self._named[kind]}"}

    def _name(self, kind: Any, model: Any) -> None:
        """Store the schema of a class under a name, which is reserved first as the class may contain itself."""
        if model is not None:
            found = pydantic.schema(model, self._mode)
            definitions = found.pop("$defs", {})
            own = found.get("$ref", "").removeprefix(_DEFS) or re.sub(r"\W", "_", model.__name__)
            _, names = self._taken({}, definitions if own in definitions else {own: found, **definitions})
            self._named[kind] = names[list(definitions).index(own) if own in definitions else 0]
            return
        name = self._named[kind] = self._free(kind.__name__)
        self.defs[name] = {}
        own = self.of(kind.described_by[0])["$ref"].removeprefix(_DEFS)
        self.defs[name] = self.defs.pop(own)

    def _taken(self, found: dict[str, Any], definitions: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Move a document's definitions into this one, under names that are free or mean the same; return these too."""
        names: dict[str, str] = {}
        for name, each in definitions.items():
            names[name] = name if self.defs.get(name) == each else self._free(name)
            self.defs.setdefault(names[name], {})
        for name, each in definitions.items():
            self.defs[names[name]] = _renamed(each, names)
        return _renamed(found, names), list(names.values())

    def _free(self, name: str) -> str:
        free, number = name, 1
        while free in self.defs:
            number += 1
            free = f"{name}_{number}"
        return free


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """Return a schema whose references (and the mapping of a discriminator) lead to the new names."""
    if isinstance(node, list):
        return [_renamed(each, names) for each in node]
    if isinstance(node, str) and node.startswith(_DEFS):
        return f"{_DEFS}{names.get(node.removeprefix(_DEFS), node.removeprefix(_DEFS))}"
    return {key: _renamed(each, names) for key, each in node.items()} if isinstance(node, dict) else node


def _names(node: Any, name: str) -> bool:
    """Return whether a schema refers to a definition."""
    if isinstance(node, list):
        return any(_names(each, name) for each in node)
    return isinstance(node, dict) and (
        node.get("$ref") == f"{_DEFS}{name}" or any(_names(each, name) for each in node.values())
    )
