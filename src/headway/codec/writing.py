"""The hook with which msgspec's encoders write what is Pydantic's."""

from __future__ import annotations

from typing import Any

from headway.codec import pydantic


def hook(value: Any) -> Any:
    """Return a value that msgspec does not know as JSON has it: its `enc_hook`. Raises TypeError for one that nothing writes."""
    if pydantic.dumps(value):
        return pydantic.dumped(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
