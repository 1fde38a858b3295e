"""Codec of Python types and JSON: reading, writing, and JSON Schema, by msgspec and, for its own types, Pydantic."""

from __future__ import annotations


class Unresolved(TypeError):
    """An annotation names a class that does not exist yet; it may be defined further below."""
