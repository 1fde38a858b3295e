"""Python's types and JSON: what a type is read from, written as and described by. Msgspec does it; Pydantic what is its own."""

from __future__ import annotations


class Unresolved(TypeError):
    """An annotation names something that does not exist yet; it may be defined further below."""
